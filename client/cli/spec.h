/* SPDX-License-Identifier: MPL-2.0 */
/* spec.h - the job options of the command line as the library takes them, and the checks of a
 * command that a user typed. */
#ifndef STINT_CLIENT_CLI_SPEC_H
#define STINT_CLIENT_CLI_SPEC_H

#include "client/cli/cli.h"

struct spec {
    struct stint_job_options options; /* points into what is below, and into the conf */
    const char **argv;
    char **env; /* owned texts */
    char *cwd;
    char *files[2]; /* stdout, stderr */
    const char *queue;
};

/* Reads the job options; `argv` are the command's words (argc 0: a payload job). Returns 0, or an
 * exit code after a report. Fini in every case. */
int spec_read(struct cli *cli, char **argv, size_t argc, bool is_map, struct spec *ret);
void spec_fini(struct spec *s);

/* True where one word looks like a line for a shell: spaces or characters that only a shell
 * understands, and not the name of a program that is here. */
bool spec_is_shell_line(const char *word);
/* True for `sh -c WORD...` where WORD holds the mark: the item would be read as shell code. */
bool spec_is_injection(char **argv, size_t argc, const char *mark);

#endif
