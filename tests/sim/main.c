/* SPDX-License-Identifier: MPL-2.0 */
/* main.c - runs seeds, tells which failed and what happened in all of them.
 *
 *     sim --seeds 2000 --first 1       the default: the seeds of seeds.txt, then 1 to 2000
 *     sim --seed 7 --trace             one seed, told as it happens
 *     sim --expect-failure             ends with 0 when a seed fails (mutants) */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "tests/sim/sim.h"

struct options {
    uint64_t first;
    uint64_t seeds;
    bool is_traced;
    bool is_one;
    bool expects_failure;
    const char *scenarios;
    const char *name;
};

static bool run_seed(const struct options *o, uint64_t seed, struct world *w, struct ingress *in,
                     struct tally *tally)
{
    world_run(w, seed, o->is_traced, in, tally);
    bool failed = w->checks.has_failed;
    if (failed)
        printf("FAILED  %s --seed %" PRIu64 "    at %.3f s: %s\n", o->name, seed,
               (double)w->now_us / 1e6, w->checks.text);
    world_fini(w);
    return !failed;
}

/* The same seed must be the same history. */
static bool run_twice(const struct options *o, struct world *w, struct ingress *in)
{
    uint64_t digests[2];
    struct tally tally = {0};
    for (int i = 0; i < 2; i++) {
        world_run(w, o->first, false, in, &tally);
        digests[i] = w->digest;
        world_fini(w);
    }
    if (digests[0] != digests[1])
        printf("FAILED  seed %" PRIu64 " is not the same twice\n", o->first);
    return digests[0] == digests[1];
}

static const struct {
    const char *text;
    bool must;
} fault_rows[] = {
#define FAULT(id, text, must) {text, must},
#include "tests/sim/fault.def"
#undef FAULT
};

static const struct {
    const char *text;
    bool must;
} counter_rows[] = {
#define COUNTER(id, text, must) {text, must},
#include "tests/sim/counter.def"
#undef COUNTER
};

/* Prints what happened; false where something that must happen did not. */
static bool tally_print(const struct tally *t, bool is_judged)
{
    bool complete = true;
    for (size_t i = 0; i < ARRAY_SIZE(fault_rows); i++) {
        printf("%s%" PRIu64 " %s", i > 0 ? ", " : "faults: ", t->faults[i], fault_rows[i].text);
        complete &= t->faults[i] > 0 || !fault_rows[i].must;
    }
    for (size_t i = 0; i < ARRAY_SIZE(counter_rows); i++) {
        printf("%s%" PRIu64 " %s", i > 0 ? ", " : "\nseen: ", t->counters[i], counter_rows[i].text);
        complete &= t->counters[i] > 0 || !counter_rows[i].must;
    }
    printf("\n");
    if (is_judged && !complete)
        printf("FAILED  something that must happen did not\n");
    return complete || !is_judged;
}

static uint64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* One seed a line; the rest of the line says what it once found. */
static size_t run_scenarios(const struct options *o, struct world *w, struct ingress *in,
                            struct tally *tally)
{
    size_t failures = 0;
    char line[512];
    FILE *f = o->scenarios != NULL ? fopen(o->scenarios, "re") : NULL;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *end = NULL;
        uint64_t seed = strtoull(line, &end, 10);
        if (end != line && line[0] != '#')
            failures += !run_seed(o, seed, w, in, tally);
    }
    if (f != NULL)
        fclose(f);
    return failures;
}

static int run_all(const struct options *o)
{
    struct world *w = mem_zalloc(sizeof *w);
    struct ingress *in = ingress_new();
    struct tally tally = {0};
    uint64_t begin_ms = clock_ms();
    size_t failures = o->is_one ? 0 : run_scenarios(o, w, in, &tally);
    if (!o->is_one)
        failures += !run_twice(o, w, in);
    uint64_t done = 0;
    for (; done < o->seeds && failures < (o->expects_failure ? 1 : 10); done++)
        failures += !run_seed(o, o->first + done, w, in, &tally);
    uint64_t ms = max_u64(clock_ms() - begin_ms, 1);
    bool complete = tally_print(&tally, !o->is_one && failures == 0 && o->seeds >= 2000);
    printf("sim: %" PRIu64 " seeds, %zu failures, %" PRIu64 " messages, %" PRIu64
           " crashes, %" PRIu64 " restarts, max virtual time %.0f s, %.1f s (%.0f seeds/s)\n",
           done, failures, tally.messages,
           tally.faults[FAULT_BROKER_CRASH] + tally.faults[FAULT_WORKER_CRASH] +
               tally.faults[FAULT_CLIENT_CRASH] + tally.faults[FAULT_BROKER_CRASH_WITHIN] +
               tally.faults[FAULT_WORKER_CRASH_WITHIN] + tally.faults[FAULT_CLIENT_CRASH_WITHIN],
           tally.restarts, (double)tally.virtual_max_us / 1e6, (double)ms / 1000,
           (double)done * 1000 / (double)ms);
    ingress_free(&in);
    free(w);
    return failures == 0 && complete ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"seeds", required_argument, NULL, 'n'},
                                          {"first", required_argument, NULL, 'f'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"trace", no_argument, NULL, 't'},
                                          {"scenarios", required_argument, NULL, 'c'},
                                          {"expect-failure", no_argument, NULL, 'x'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.first = 1, .seeds = 2000, .name = argv[0]};
    for (int c = 0; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'n') {
            o.seeds = strtoull(optarg, NULL, 10);
        } else if (c == 'f') {
            o.first = strtoull(optarg, NULL, 10);
        } else if (c == 's') {
            o.first = strtoull(optarg, NULL, 10);
            o.seeds = 1;
            o.is_one = true;
        } else if (c == 't') {
            o.is_traced = true;
        } else if (c == 'c') {
            o.scenarios = optarg;
        } else if (c == 'x') {
            o.expects_failure = true;
        } else {
            fprintf(stderr,
                    "usage: %s [--seeds N] [--first N] [--seed N [--trace]] "
                    "[--scenarios FILE] [--expect-failure]\n",
                    argv[0]);
            return 2;
        }
    }
    int rc = run_all(&o);
    if (!o.expects_failure)
        return rc;
    printf("%s\n", rc != 0 ? "caught, as it must be" : "FAILED  the planted bug was not caught");
    return rc != 0 ? 0 : 1;
}
