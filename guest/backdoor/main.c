// SPDX-License-Identifier: BSD-3-Clause
/* backdoor: libbackdoor for shells. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/backdoor.h>

#include "bench.h"
#include "say.h"

enum {
    EXIT_USAGE = 2,
    EXIT_NO_BACKDOOR = 3,
};

#define MAX_ARGUMENTS 2

/* The arguments of a verb, which are numbers all. */
struct numbers {
    uint64_t value[MAX_ARGUMENTS];
    int count;
};

struct verb {
    const char *name;
    const char *arguments; /* for --help */
    const char *help;
    int min_arguments;
    int max_arguments;
    /* Does the work. 0, or a negative errno with the fault filled. */
    int (*run)(struct ob_backdoor *backdoor, const struct numbers *numbers, struct ob_fault *fault);
};

static int run_info(struct ob_backdoor *backdoor, const struct numbers *numbers,
                    struct ob_fault *fault)
{
    printf("backdoor: %s\n", ob_backdoor_name(backdoor));
    printf("data: %zu bytes\n", ob_backdoor_size(backdoor));
    return 0;
}

static int run_call(struct ob_backdoor *backdoor, const struct numbers *numbers,
                    struct ob_fault *fault)
{
    int err = ob_backdoor_call(backdoor, numbers->value[0], fault);
    return err < 0 ? err : ob_backdoor_check(backdoor, fault);
}

/* How much lies behind an offset in the data channel, or -ERANGE. */
static int room_behind(const struct ob_backdoor *backdoor, uint64_t offset, size_t *ret_room,
                       struct ob_fault *fault)
{
    size_t size = ob_backdoor_size(backdoor);
    if (offset > size)
        return ob_fault_set(
            fault, -ERANGE,
            "the data channel has %zu bytes; got offset %" PRIu64 ", beyond its end", size, offset);
    *ret_room = size - (size_t)offset;
    return 0;
}

static int no_memory(size_t len, struct ob_fault *fault)
{
    return ob_fault_set(fault, -ENOMEM, "no memory for %zu bytes", len);
}

static int run_read(struct ob_backdoor *backdoor, const struct numbers *numbers,
                    struct ob_fault *fault)
{
    uint64_t offset = numbers->value[0]; /* 0 where none is given */
    size_t len = 0;
    int err = room_behind(backdoor, offset, &len, fault);
    if (err < 0)
        return err;
    if (numbers->count > 1) {
        if (numbers->value[1] > len)
            return ob_fault_set(fault, -ERANGE,
                                "the data channel has %zu bytes from offset %" PRIu64
                                "; got a length of %" PRIu64,
                                len, offset, numbers->value[1]);
        len = (size_t)numbers->value[1];
    }
    uint8_t *buf = malloc(len + 1);
    if (!buf)
        return no_memory(len, fault);
    err = ob_backdoor_read(backdoor, (size_t)offset, buf, len);
    if (err == 0)
        fwrite(buf, 1, len, stdout); /* finish_output() tells how that went */
    free(buf);
    return err;
}

static int run_write(struct ob_backdoor *backdoor, const struct numbers *numbers,
                     struct ob_fault *fault)
{
    uint64_t offset = numbers->value[0];
    size_t room = 0;
    int err = room_behind(backdoor, offset, &room, fault);
    if (err < 0)
        return err;
    uint8_t *buf = malloc(room + 1); /* one more, to see that there is more */
    if (!buf)
        return no_memory(room, fault);
    size_t len = fread(buf, 1, room + 1, stdin);
    if (ferror(stdin))
        err = ob_fault_set(fault, -EIO, "can't read standard input: %s", strerror(errno));
    else if (len > room)
        err = ob_fault_set(fault, -EFBIG,
                           "standard input: got more than the %zu bytes that the data channel has "
                           "from offset %" PRIu64 "; nothing was written",
                           room, offset);
    else
        err = ob_backdoor_write(backdoor, (size_t)offset, buf, len);
    free(buf);
    return err;
}

static int run_bench(struct ob_backdoor *backdoor, const struct numbers *numbers,
                     struct ob_fault *fault)
{
    uint64_t calls = numbers->count > 0 ? numbers->value[0] : BENCH_DEFAULT_CALLS;
    uint64_t command = numbers->count > 1 ? numbers->value[1] : 0;
    if (calls == 0 || calls > BENCH_MAX_CALLS)
        return ob_fault_set(fault, -ERANGE, "bench: expected 1 to %d calls", BENCH_MAX_CALLS);
    return bench_run(backdoor, command, (size_t)calls, fault);
}

static const struct verb verbs[] = {
    {"info", "", "show which backdoor this is, and the size of its data channel", 0, 0, run_info},
    {"call", "COMMAND", "have the host run a command, and wait until it has", 1, 1, run_call},
    {"read", "[OFFSET [LENGTH]]", "copy the data channel to standard output", 0, 2, run_read},
    {"write", "OFFSET", "copy standard input into the data channel", 1, 1, run_write},
    {"bench", "[CALLS [COMMAND]]", "time calls (default: 1000 calls of command 0)", 0, 2,
     run_bench},
};

#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static void print_help(void)
{
    printf("usage: backdoor VERB [ARGUMENT...]\n"
           "Call code on the host, and share data with it.\n\n");
    for (size_t i = 0; i < VERB_COUNT; i++) {
        char left[64];
        snprintf(left, sizeof(left), "%s %s", verbs[i].name, verbs[i].arguments);
        printf("  %-26s %s\n", left, verbs[i].help);
    }
    printf("\nNumbers are decimal or like 0x1f. The backdoor is the PCI device 1af4:10f0, or the\n"
           "process behind the socket that the environment variable " OB_BACKDOOR_ENVIRONMENT
           " names.\n"
           "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no backdoor could be opened.\n");
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int complain(const char *text, int status)
{
    say(text);
    return status;
}

/* Reads a number, decimal or with 0x in front. */
static bool parse(const char *word, uint64_t *ret_number)
{
    char *end;
    errno = 0;
    *ret_number = strtoull(word, &end, strncmp(word, "0x", 2) == 0 ? 16 : 10);
    return *word >= '0' && *word <= '9' && !*end && !errno;
}

/* Where a failure to write to standard output is told. */
static int finish_output(struct ob_fault *fault)
{
    if (fflush(stdout) == EOF || ferror(stdout))
        return ob_fault_set(fault, -EIO, "can't write to standard output: %s", strerror(errno));
    return 0;
}

/* The exit status of a command that only prints. */
static int end_output(void)
{
    struct ob_fault fault = {0};
    return finish_output(&fault) < 0 ? complain(fault.text, EXIT_FAILURE) : EXIT_SUCCESS;
}

static int run(const struct verb *verb, const struct numbers *numbers)
{
    struct ob_backdoor *backdoor;
    struct ob_fault fault = {0};
    if (ob_backdoor_open(&backdoor, &fault) < 0)
        return complain(fault.text, EXIT_NO_BACKDOOR);
    int err = verb->run(backdoor, numbers, &fault);
    ob_backdoor_close(backdoor);
    if (err == 0)
        err = finish_output(&fault);
    return err < 0 ? complain(fault.text, EXIT_FAILURE) : EXIT_SUCCESS;
}

static int parse_and_run(const struct verb *verb, int count, char **words)
{
    char text[256];
    struct numbers numbers = {.count = count};
    if (count < verb->min_arguments || count > verb->max_arguments) {
        snprintf(text, sizeof(text), "usage: backdoor %s %s", verb->name, verb->arguments);
        return complain(text, EXIT_USAGE);
    }
    for (int i = 0; i < count; i++) {
        if (parse(words[i], &numbers.value[i]))
            continue;
        snprintf(text, sizeof(text), "got '%s', expected a number, decimal or like 0x1f", words[i]);
        return complain(text, EXIT_USAGE);
    }
    return run(verb, &numbers);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (standard_fds_open() < 0)
        return EXIT_FAILURE;
    if (strcmp(name, "--help") == 0) {
        print_help();
        return end_output();
    }
    if (strcmp(name, "--version") == 0) {
        printf("backdoor " OUTBOARD_VERSION "\n");
        return end_output();
    }
    const struct verb *verb = find_verb(name);
    if (!verb)
        return complain("give a verb: info, call, read, write or bench; --help explains them",
                        EXIT_USAGE);
    return parse_and_run(verb, argc - 2, argv + 2);
}
