/* SPDX-License-Identifier: MPL-2.0 */
/* conf.h - the options of a program, declared once in a const table.
 *
 * From the table come: parsing of the command line, of the environment and of a configuration
 * file, the checks of values, --help, --print-config and the reference in docs/. The order is
 * default < file < environment < command line, for each option by itself; a list from a higher
 * origin replaces the whole list of a lower one.
 *
 * Command line: the syntax of getopt_long (--name=value, --name value, -n value, -nvalue, letters
 * of flags joined as in -qv, -- ends the options), but an abbreviated name is never accepted: an
 * option that is added later must not change what a script means.
 *
 * File (--config FILE or $STINT_CONFIG): INI. The section is the program's name; keys before any
 * section belong to the program that reads the file; the sections of the other programs of stint
 * are skipped. An unknown key or section is an error. A list is given by repeating its key.
 *
 * Every error is one sentence that names the option, the value and where it came from. The status
 * in it is CONF_USAGE, the exit code of a usage error. Functions other than conf_parse_args,
 * conf_load and conf_read cannot fail. A `struct conf` belongs to one thread; strings that getters
 * return live as long as it does and do not change after conf_load. */
#ifndef STINT_COMMON_CONF_CONF_H
#define STINT_COMMON_CONF_CONF_H

#include "common/base/base.h"
#include "common/base/buf.h"
#include "common/base/error.h"

#define CONF_USAGE 2
#define CONF_VALUE_BYTES_MAX 4096 /* of one line in the file, its key included */

enum conf_kind {
    CONF_FLAG,     /* no value on the command line; yes/no, true/false, on/off, 1/0 elsewhere */
    CONF_STRING,   /* any text */
    CONF_LIST,     /* may be repeated; each use is one item */
    CONF_WORDS,    /* as CONF_LIST, and each use may hold several items, split at commas */
    CONF_U64,      /* a decimal number from `min` to `max` */
    CONF_SIZE,     /* bytes: 64K 1M 2G; from `min` to `max` */
    CONF_DURATION, /* 250ms 10s 5m 2h 3d, a bare number is seconds, none; `min` to `max` are ms */
    CONF_CHOICE,   /* one of the words in `choices`, separated by '|' */
};

struct conf_option {
    const char *name; /* long name without dashes; NULL ends a table */
    char letter;      /* short name, 0 = none */
    enum conf_kind kind;
    const char *env;           /* environment variable, or NULL */
    const char *key;           /* key in the file, or NULL where the file cannot set it */
    const char *value_default; /* as text; NULL = not set (a flag: off; a number getter: 0) */
    const char *metavar;       /* what --help calls the value */
    const char *help;          /* one sentence, no full stop */
    const char *group;         /* heading in --help */
    uint64_t min;              /* inclusive */
    uint64_t max;        /* inclusive; 0 = no bounds; a duration "none" is above any maximum */
    const char *choices; /* CONF_CHOICE: "auto|always|never" */
    /* An extra check of one value (or item), or NULL. Returns false and a reason. */
    bool (*check)(const char *value, const char **ret_why);
};

struct conf_example {
    const char *command;
    const char *what; /* what it does; NULL where the command says it */
};

struct conf_program {
    const char *name;    /* "stint-broker": also the section of the file */
    const char *summary; /* one line for --help */
    const char *usage;   /* one line or several separated by \n, without "Usage: " */
    const struct conf_example *examples; /* ended by {NULL, NULL} */
    const char *notes;                   /* text after the options in --help, or NULL */
    const char *version;                 /* what --version prints after the name, may have lines */
    /* Tables whose keys the file may hold though this program run does not use them (the options
     * of the other commands of `stint`); NULL, or an array ended by NULL. */
    const struct conf_option *const *tables_known;
};

enum conf_args_mode {
    CONF_ARGS_MIXED,         /* options and other arguments in any order */
    CONF_ARGS_OPTIONS_FIRST, /* the first argument that is no option ends the options */
};

struct conf;

/* A conf with the options that every program has: --help (-h), --version, --config,
 * --print-config. `program` must outlive it. Ends the process without memory, as mem_alloc. */
struct conf *conf_new(const struct conf_program *program);
void conf_free(struct conf **c);

/* Adds a table (ended by an entry without name), which must outlive the conf. */
void conf_add_options(struct conf *c, const struct conf_option *table);

/* Reads arguments; `argv` does not begin with the program's name and must outlive the conf. May be
 * called several times: later values win over earlier ones, list items are appended, and
 * conf_args_* tell about the last call. Returns 0, or -1 with `e` filled. */
int conf_parse_args(struct conf *c, int argc, char **argv, enum conf_args_mode mode,
                    struct error *e) MUST_CHECK;

/* Reads the configuration file, if one is named, and the environment; call it after the arguments
 * (which may name the file). Does nothing when --help or --version was asked for, so that a broken
 * file cannot hide the help. Returns 0, or -1 with `e` filled. */
int conf_load(struct conf *c, struct error *e) MUST_CHECK;

/* conf_parse_args and conf_load: all that a daemon needs. `argc` and `argv` as main has them. */
int conf_read(struct conf *c, int argc, char **argv, enum conf_args_mode mode,
              struct error *e) MUST_CHECK;

/* The arguments that are not options. */
int conf_args_count(const struct conf *c);
char **conf_args(const struct conf *c); /* NULL-terminated array of pointers into argv */
/* How many of them stood before a "--"; conf_args_count where there was none. */
int conf_args_before_dashes(const struct conf *c);

/* Getters: `name` is a long name of a table that was added, of a fitting kind; anything else is a
 * bug (assert). */
bool conf_flag(const struct conf *c, const char *name);
const char *conf_str(const struct conf *c, const char *name); /* STRING, CHOICE; NULL = not set */
uint64_t conf_u64(const struct conf *c, const char *name);    /* U64 */
uint64_t conf_bytes(const struct conf *c, const char *name);  /* SIZE */
uint64_t conf_ms(const struct conf *c, const char *name);     /* DURATION; NEVER_MS for "none" */
size_t conf_count(const struct conf *c, const char *name);    /* LIST, WORDS */
const char *conf_item(const struct conf *c, const char *name, size_t at);
/* True where file, environment or command line gave the option. */
bool conf_is_set(const struct conf *c, const char *name);
/* True where the table has such an option. */
bool conf_has(const struct conf *c, const char *name);
/* Where the value came from: "default", "FILE:LINE", "environment STINT_QUEUE", "command line". */
void conf_origin_add(const struct conf *c, const char *name, struct buf *out);

/* --help: usage, examples, options by group, notes. */
void conf_help_add(const struct conf *c, struct buf *out);
/* --print-config: "name = value    # origin", a line for each option that a file can hold. */
void conf_print_add(const struct conf *c, struct buf *out);
/* Prints to stdout what --help, --version or --print-config ask for and returns true where one of
 * them was given: the program then exits 0. Call after conf_load. */
bool conf_answer(const struct conf *c);

/* The word nearest to `word` among `count` words, or NULL where none is near enough to suggest:
 * a word that begins with it, or one within a third of its length in edits. */
const char *conf_nearest(const char *word, const char *const *words, size_t count);

#endif
