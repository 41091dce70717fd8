// SPDX-License-Identifier: BSD-3-Clause
/* ob_program_main() and what an author may get wrong: a status and a sentence, and no crash. */
#include "program/author.h"

#include "support.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEXT_LEN 4096

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), .name = "test"};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    return ob_device_new(&desc, &ops, NULL, ret_device, fault);
}

static int create_without_a_fault(void *config, struct ob_device **ret_device,
                                  struct ob_fault *fault)
{
    return -ENOSPC;
}

static int create_with_a_fault(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    return ob_fault_set(fault, -ENOSPC, "the shelf is full");
}

static int create_nothing(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    return 0;
}

static int create_a_number(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    return 3;
}

static int create_and_fail(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    int err = create(config, ret_device, fault);
    return err < 0 ? err : -EMFILE;
}

static int create_by_a_bad_description(void *config, struct ob_device **ret_device,
                                       struct ob_fault *fault)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc)};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    return ob_device_new(&desc, &ops, NULL, ret_device, fault);
}

static int open_without_a_fault(void *config, struct ob_fault *fault)
{
    return -ENOSPC;
}

static int open_with_a_fault(void *config, struct ob_fault *fault)
{
    return ob_fault_set(fault, -ENOSPC, "the drawer is full");
}

static int open_a_number(void *config, struct ob_fault *fault)
{
    return 3;
}

static int apply(void *config, const char *value, struct ob_fault *fault)
{
    return 0;
}

static int apply_without_a_fault(void *config, const char *value, struct ob_fault *fault)
{
    return -ERANGE;
}

static int apply_a_number(void *config, const char *value, struct ob_fault *fault)
{
    return 1;
}

static int apply_no_value(void *config, const char *value, struct ob_fault *fault)
{
    uint64_t number;
    return ob_option_number(value, 0, 1, &number, fault);
}

#define PROGRAM .name = "test", .summary = "Tests.", .type = "test"
#define OPTIONS(...)                                                                               \
    (const struct ob_option[])                                                                     \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

static const struct ob_option many[AUTHOR_MAX_OPTIONS + 2] = {
    {"a", NULL, "", apply}, {"b", NULL, "", apply}, {"c", NULL, "", apply}, {"d", NULL, "", apply},
    {"e", NULL, "", apply}, {"f", NULL, "", apply}, {"g", NULL, "", apply}, {"h", NULL, "", apply},
    {"i", NULL, "", apply}, {"j", NULL, "", apply}, {"k", NULL, "", apply}, {"l", NULL, "", apply},
    {"m", NULL, "", apply}, {"n", NULL, "", apply}, {"o", NULL, "", apply}, {"p", NULL, "", apply},
    {"q", NULL, "", apply},
};

struct ending {
    int status; /* as waitpid(2) says */
    char text[TEXT_LEN];
};

/* Runs a device program in a child, with one option of its own. */
static struct ending run_at(const char *socket, const struct ob_program *program,
                            const char *option)
{
    struct ending ending = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char *argv[] = {"test", (char *)socket, (char *)option, NULL};
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        optind = 0;
        int status = ob_program_main(program, NULL, option ? 3 : 2, argv);
        fflush(NULL);
        _exit(status);
    }
    close(ends[1]);
    size_t len = 0;
    ssize_t more;
    while ((more = read(ends[0], ending.text + len, TEXT_LEN - 1 - len)) > 0)
        len += (size_t)more;
    close(ends[0]);
    assert_int_equal(waitpid(child, &ending.status, 0), child);
    return ending;
}

/* Likewise, with nowhere to serve. */
static struct ending run(const struct ob_program *program, const char *option)
{
    return run_at("--fd=1000000", program, option);
}

static void check(struct ending ending, int status, const char *says, size_t index)
{
    bool ends = WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == status;
    if (!ends || !strstr(ending.text, says) || strchr(ending.text, '\n')[1])
        fail_msg("case %zu: got status 0x%x and '%s', expected %d and a line with '%s'", index,
                 ending.status, ending.text, status, says);
}

static void expect(const struct ob_program *program, const char *option, int status,
                   const char *says, size_t index)
{
    check(run(program, option), status, says, index);
}

static void programs_that_can_not_be_are_told_so(void **state)
{
    const struct {
        struct ob_program program;
        const char *says;
    } slips[] = {
        {{0}, "ob_program.name is not set"},
        {{.name = "test"}, "ob_program.summary is not set"},
        {{.name = "test", .summary = "Tests."}, "ob_program.type is not set"},
        {{PROGRAM}, "ob_program.create is not set"},
        {{PROGRAM, .create = create, .wire = "smoke"},
         "ob_program.wire: got 'smoke', expected mpqemu, vfio-user or vhost-user"},
        {{PROGRAM, .create = create, .options = OPTIONS({"x", NULL, "help", NULL})},
         "--x has no apply()"},
        {{PROGRAM, .create = create, .options = OPTIONS({"x", NULL, NULL, apply})},
         "--x has no help"},
        {{PROGRAM, .create = create, .options = OPTIONS({"", NULL, "help", apply})},
         "'' can't be the name of an option"},
        {{PROGRAM, .create = create, .options = OPTIONS({"--x", NULL, "help", apply})},
         "'--x' can't be the name"},
        {{PROGRAM, .create = create, .options = OPTIONS({"x=y", NULL, "help", apply})},
         "'x=y' can't be the name"},
        {{PROGRAM, .create = create, .options = OPTIONS({"fd", "N", "help", apply})},
         "--fd is an option of every device program"},
        {{PROGRAM, .create = create, .options = OPTIONS({"help", NULL, "help", apply})},
         "--help is an option of every device program"},
        {{PROGRAM, .create = create,
          .options = OPTIONS({"x", NULL, "help", apply}, {"x", NULL, "help", apply})},
         "ob_program.options: got --x twice"},
        {{PROGRAM, .create = create, .options = many}, "more than 16"},
        {{PROGRAM, .create = create, .open = open_without_a_fault},
         "open() failed: No space left on device"},
        {{PROGRAM, .create = create, .open = open_with_a_fault}, "the drawer is full"},
        {{PROGRAM, .create = create, .open = open_a_number}, "open(): got result 3"},
        {{PROGRAM, .create = create}, "--fd=1000000 is not a connected stream socket"},
    };
    for (size_t i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        struct ob_program program = slips[i].program;
        program.size = sizeof(program);
        expect(&program, NULL, 1, slips[i].says, i);
    }
    expect(&(struct ob_program){PROGRAM, .create = create}, NULL, 1, "ob_program.size is not set",
           0);
    expect(NULL, NULL, 1, "the program is NULL", 0);
}

/* The device is made once all is open, so there has to be a peer's socket. */
static void devices_that_can_not_be_are_told_so(void **state)
{
    const struct {
        struct ob_program program;
        const char *says;
    } slips[] = {
        {{PROGRAM, .create = create_without_a_fault}, "create() failed: No space left on device"},
        {{PROGRAM, .create = create_with_a_fault}, "the shelf is full"},
        {{PROGRAM, .create = create_nothing}, "create(): got result 0 without a device"},
        {{PROGRAM, .create = create_a_number}, "create(): got result 3"},
        {{PROGRAM, .create = create_and_fail}, "create() failed: Too many open files"},
        {{PROGRAM, .create = create_by_a_bad_description}, "the device has no name"},
    };
    int peer[2];
    char option[32];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, peer), 0);
    snprintf(option, sizeof(option), "--fd=%d", peer[0]);
    for (size_t i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        struct ob_program program = slips[i].program;
        program.size = sizeof(program);
        check(run_at(option, &program, NULL), 1, slips[i].says, i);
    }
    close(peer[0]);
    close(peer[1]);
}

static void options_that_fail_are_told_in_words(void **state)
{
    static const struct {
        struct ob_option option;
        const char *says;
    } slips[] = {
        {{"x", NULL, "help", apply_without_a_fault}, "--x: apply() failed: Numerical result"},
        {{"x", NULL, "help", apply_a_number}, "--x: apply(): got result 1"},
        {{"x", NULL, "help", apply_no_value},
         "--x: ob_option_number(): value or ret_number is NULL"},
    };
    for (size_t i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        const struct ob_option options[] = {slips[i].option, {0}};
        const struct ob_program program = {
            .size = sizeof(program), PROGRAM, .create = create, .options = options};
        expect(&program, "--x", 2, slips[i].says, i);
    }
}

static void the_version_is_the_authors(void **state)
{
    struct ob_program program = {
        .size = sizeof(program), PROGRAM, .create = create, .version = "7.5-rc1"};
    expect(&program, "--version", 0, "test 7.5-rc1 (Outboard " OUTBOARD_VERSION ")\n", 0);
    program.version = NULL;
    expect(&program, "--version", 0, "test " OUTBOARD_VERSION "\n", 1);
}

static bool offers(const struct ob_program *program, const char *text)
{
    return strstr(run(program, "--help").text, text);
}

static void what_a_device_does_not_take_is_not_offered(void **state)
{
    struct ob_program program = {.size = sizeof(program), PROGRAM, .create = create};
    assert_true(offers(&program, "--dma="));
    assert_true(offers(&program, "--wire="));
    program.needs_shared_memory = true;
    assert_false(offers(&program, "--dma="));
    assert_true(offers(&program, "--wire="));
    program = (struct ob_program){
        .size = sizeof(program), PROGRAM, .create = create, .wire = "vfio-user"};
    assert_true(offers(&program, "--dma="));
    assert_false(offers(&program, "--wire="));
    assert_false(offers(&program, "mpqemu"));
    expect(&program, "--wire=mpqemu", 2, "--wire: got mpqemu, expected vfio-user, the only wire",
           0);
    expect(&program, "--wire=vfio-user", 1, "--fd=1000000", 1);
    expect(&program, "--print-capabilities", 0,
           "{\"type\": \"test\", \"wires\": [\"vfio-user\"], \"features\": [\"dma-messages\"]}", 2);
    program.wire = "mpqemu";
    assert_false(offers(&program, "--dma="));
    expect(&program, "--dma=messages", 2, "--dma=messages: got wire mpqemu, expected vfio-user", 3);
    expect(&program, "--print-capabilities", 0,
           "{\"type\": \"test\", \"wires\": [\"mpqemu\"], \"features\": []}", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(programs_that_can_not_be_are_told_so),       TEST(devices_that_can_not_be_are_told_so),
        TEST(options_that_fail_are_told_in_words),        TEST(the_version_is_the_authors),
        TEST(what_a_device_does_not_take_is_not_offered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
