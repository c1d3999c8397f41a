/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/payload.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int payload_read(struct cli *cli, int fd, const char *what, struct buf *out)
{
    char chunk[65536];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cli_usage(cli, "cannot read %s: %s", what, strerror(errno));
        if (n == 0)
            return EXIT_DONE;
        buf_add(out, chunk, (size_t)n);
        if (out->failed)
            return cli_error(cli, STINT_TOO_LARGE, "%s is larger than a payload may be (%u bytes)",
                             what, STINT_PAYLOAD_BYTES_MAX);
    }
}
