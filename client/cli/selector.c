/* SPDX-License-Identifier: MPL-2.0 */
#include "client/cli/selector.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LAST_BYTES_MAX = 64 << 20
};

/* Path of the file in the user's state directory; creates the directories when asked to. */
static bool last_path(char *out, size_t out_bytes, bool create)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char base[PATH_MAX];
    int n = -1;
    if (state != NULL && state[0] == '/')
        n = snprintf(base, sizeof base, "%s/stint", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(base, sizeof base, "%s/.local/state/stint", home);
    if (n < 0 || (size_t)n >= sizeof base)
        return false;
    for (char *p = strchr(base + 1, '/'); create && p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(base, 0700);
        *p = '/';
    }
    if (create)
        mkdir(base, 0700);
    n = snprintf(out, out_bytes, "%s/last-ids", base);
    return n > 0 && (size_t)n < out_bytes;
}

void selector_keep_last(const struct ids *ids)
{
    char path[PATH_MAX];
    char draft[PATH_MAX + 16];
    if (!last_path(path, sizeof path, true))
        return;
    snprintf(draft, sizeof draft, "%s.%ld", path, (long)getpid());
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    struct buf text;
    buf_init(&text, LAST_BYTES_MAX);
    ids_text(ids, &text, LAST_BYTES_MAX - 1);
    buf_add_char(&text, '\n');
    bool written = !text.failed && write(fd, text.data, text.size) == (ssize_t)text.size;
    buf_fini(&text);
    if (close(fd) != 0 || !written || rename(draft, path) != 0)
        unlink(draft);
}

/* Adds all words of a stream; words are separated by white space. */
static int words_read(struct cli *cli, struct ids *ids, FILE *in, const char *what)
{
    struct buf word;
    buf_init(&word, LAST_BYTES_MAX);
    int code = EXIT_DONE;
    for (int ch = getc(in); code == EXIT_DONE; ch = getc(in)) {
        bool is_space = ch == EOF || strchr(" \t\r\n", ch) != NULL;
        if (!is_space) {
            buf_add_char(&word, (char)ch);
            continue;
        }
        if (word.size > 0 && (word.failed || !ids_parse(ids, buf_view(&word))))
            code = cli_usage(cli, "%s: '%.60s' is no job id, range or list", what, buf_cstr(&word));
        buf_reset(&word);
        if (ch == EOF)
            break;
    }
    buf_fini(&word);
    return code;
}

static int last_read(struct cli *cli, struct ids *ids)
{
    char path[PATH_MAX];
    FILE *in = last_path(path, sizeof path, false) ? fopen(path, "re") : NULL;
    if (in == NULL)
        return cli_error(cli, STINT_NOT_FOUND,
                         "there is no last submit, run or map of this user on this machine");
    int code = words_read(cli, ids, in, path);
    fclose(in);
    return code;
}

int selector_add(struct cli *cli, struct ids *ids, const char *word)
{
    if (cli != NULL && strcmp(word, "-") == 0)
        return words_read(cli, ids, stdin, "stdin");
    if (cli != NULL && strcmp(word, "last") == 0)
        return last_read(cli, ids);
    if (ids_parse(ids, view_str(word)))
        return EXIT_DONE;
    if (cli == NULL)
        return EXIT_USAGE;
    return cli_usage(
        cli, "'%.60s' selects no jobs; expected ids like 42, 40-45 or 40,42, 'last' or '-'", word);
}

int selector_read(struct cli *cli, struct ids *ret)
{
    int count = conf_args_count(cli->conf);
    if (count == 0)
        return cli_usage(cli, "which jobs? Give ids like 42, 40-45 or 40,42, 'last' or '-'");
    for (int i = 0; i < count; i++) {
        int code = selector_add(cli, ret, conf_args(cli->conf)[i]);
        if (code != EXIT_DONE)
            return code;
    }
    if (ret->count == 0)
        return cli_error(cli, STINT_NOT_FOUND, "no job is selected");
    return EXIT_DONE;
}
