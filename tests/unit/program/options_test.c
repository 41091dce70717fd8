// SPDX-License-Identifier: BSD-3-Clause
#include "program/options.h"

#include "support.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#define MAX_WORDS 10

struct config {
    const char *name;
    unsigned loud;
};

static int apply_name(void *config, const char *value, struct ob_fault *fault)
{
    struct config *own = config;
    if (strcmp(value, "bad") == 0)
        return ob_fault_set(fault, -ERANGE, "'%s' is no name", value);
    own->name = value;
    return 0;
}

static int apply_loud(void *config, const char *value, struct ob_fault *fault)
{
    struct config *own = config;
    assert_null(value);
    own->loud++;
    return 0;
}

static const struct ob_option own_options[] = {
    {"name", "NAME", "what it is called", apply_name},
    {"loud", NULL, "say more", apply_loud},
    {0},
};
static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    return -ENOTSUP; /* no device is made here */
}

static const struct ob_program program = {
    .name = "test", .summary = "Tests.", .type = "test", .options = own_options, .create = create};

/* Parses the words up to a NULL. */
static int parse(const char *const *words, struct config *config, struct options *ret_options,
                 struct ob_fault *fault)
{
    char *argv[MAX_WORDS + 2] = {"test"};
    int argc = 1;
    while (argc <= MAX_WORDS && words[argc - 1]) {
        argv[argc] = (char *)words[argc - 1];
        argc++;
    }
    *config = (struct config){0};
    *fault = (struct ob_fault){0};
    optind = 0; /* glibc: the next call starts over */
    assert_int_equal(getopt(1, argv, "+"), -1);
    return options_parse(&program, config, argc, argv, ret_options, fault);
}

static void defaults_are_there(void **state)
{
    struct config config;
    struct options options;
    struct ob_fault fault;
    const char *const words[] = {"--fd=5", NULL};
    assert_int_equal(parse(words, &config, &options, &fault), OPTIONS_SERVE);
    assert_int_equal(options.fd, 5);
    assert_null(options.socket_path);
    assert_null(options.wire);
    assert_int_equal(options.poll_us, 100);
    assert_false(options.dma_by_messages);
    assert_false(options.has_pci_id);
    assert_int_equal(options.cell.how, CONFINE_DEFAULT);
    assert_null(options.cell.policy);
}

static void a_cell_is_asked_for(void **state)
{
    struct config config;
    struct options options;
    struct ob_fault fault;
    const char *const words[] = {"--fd=5", "--cell=required", "--cell-policy=/my.policy", NULL};
    const char *const question[] = {"--print-cell", "--cell=none", NULL};
    assert_int_equal(parse(words, &config, &options, &fault), OPTIONS_SERVE);
    assert_int_equal(options.cell.how, CONFINE_REQUIRED);
    assert_string_equal(options.cell.policy, "/my.policy");
    assert_int_equal(parse(question, &config, &options, &fault), OPTIONS_CELL);
    assert_int_equal(options.cell.how, CONFINE_NONE);
}

static void every_option_is_applied(void **state)
{
    struct config config;
    struct options options;
    struct ob_fault fault;
    const char *const words[] = {"--socket-path",
                                 "/a b",
                                 "--wire=vfio-user",
                                 "--poll-us=0",
                                 "--dma=shared",
                                 "--dma=messages",
                                 "--name=x=y",
                                 "--loud",
                                 "--loud",
                                 "--pci-id=1AF4:2",
                                 NULL};
    assert_int_equal(parse(words, &config, &options, &fault), OPTIONS_SERVE);
    assert_int_equal(options.fd, -1);
    assert_string_equal(options.socket_path, "/a b");
    assert_int_equal(options.poll_us, 0);
    assert_true(options.dma_by_messages);
    assert_true(options.has_pci_id);
    assert_int_equal(options.vendor_id, 0x1af4);
    assert_int_equal(options.device_id, 2);
    assert_string_equal(config.name, "x=y");
    assert_int_equal(config.loud, 2);
}

/* A device whose memory must not be mapped speaks the one wire that can do without. */
static void dma_by_messages_settles_the_wire(void **state)
{
    static const char *const asked[][3] = {
        {"--fd=1", "--dma=messages"},
        {"--dma=messages", "--fd=1"},
    };
    struct config config;
    struct options options;
    struct ob_fault fault;
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        assert_int_equal(parse(asked[i], &config, &options, &fault), OPTIONS_SERVE);
        assert_ptr_equal(options.wire, &vfio_user_engine);
    }
}

static void questions_come_before_service(void **state)
{
    static const struct {
        const char *word;
        int verdict;
    } questions[] = {
        {"--help", OPTIONS_HELP},
        {"--version", OPTIONS_VERSION},
        {"--print-capabilities", OPTIONS_CAPABILITIES},
    };
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        struct config config;
        struct options options;
        struct ob_fault fault;
        const char *const words[] = {questions[i].word, NULL};
        assert_int_equal(parse(words, &config, &options, &fault), questions[i].verdict);
    }
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *words[4];
        int err;
        const char *says;
    } mistakes[] = {
        {{NULL}, -EINVAL, "--fd=N"},
        {{"--fd=1", "--socket-path=x"}, -EINVAL, "not both"},
        {{"--fd=1", "--nope"}, -EINVAL, "got '--nope', expected an option"},
        {{"--fd=1", "-x"}, -EINVAL, "got '-x', expected an option"},
        {{"--fd=1", "--help=yes"}, -EINVAL, "'--help=yes'"},
        {{"--fd"}, -EINVAL, "got '--fd', which needs a value"},
        {{"word", "--fd"}, -EINVAL, "got 'word', expected an option"},
        {{"--fd=1", "word"}, -EINVAL, "got 'word', expected an option"},
        {{"word", "--fd=1"}, -EINVAL, "got 'word', expected an option"},
        {{"--fd=1", "--", "--fd=2"}, -EINVAL, "got '--fd=2', expected an option"},
        {{"--fd=-1"}, -EINVAL, "--fd: got '-1', expected a number from 0 to 2147483647"},
        {{"--fd="}, -EINVAL, "--fd: got ''"},
        {{"--fd=2147483648"}, -EINVAL, "--fd: got '2147483648'"},
        {{"--fd=99999999999999999999"}, -EINVAL, "--fd: got '99999999999999999999'"},
        {{"--fd=1x"}, -EINVAL, "--fd: got '1x'"},
        {{"--fd= 1"}, -EINVAL, "--fd: got ' 1'"},
        {{"--poll-us=20001"}, -EINVAL, "from 0 to 20000"},
        {{"--pci-id=1af4"}, -EINVAL, "--pci-id: got '1af4', expected VENDOR:DEVICE"},
        {{"--pci-id=ffff:1"}, -EINVAL, "--pci-id: got 'ffff:1', expected VENDOR:DEVICE"},
        {{"--wire=smoke"},
         -EINVAL,
         "--wire: got 'smoke', expected mpqemu, vfio-user or vhost-user"},
        {{"--cell=open"}, -EINVAL, "--cell: got 'open', expected none, default or required"},
        {{"--user=0"}, -EINVAL, "--user: got '0', expected a number from 1"},
        {{"--dma=none"}, -EINVAL, "--dma: got 'none', expected shared or messages"},
        {{"--wire=mpqemu", "--dma=messages"},
         -EINVAL,
         "--dma=messages: got wire mpqemu, expected vfio-user"},
        {{"--dma=messages", "--wire=mpqemu"},
         -EINVAL,
         "--dma=messages: got wire mpqemu, expected vfio-user"},
        {{"--name=bad"}, -ERANGE, "--name: 'bad' is no name"},
    };
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct config config;
        struct options options;
        struct ob_fault fault;
        assert_int_equal(parse(mistakes[i].words, &config, &options, &fault), mistakes[i].err);
        assert_int_equal(fault.code, mistakes[i].err);
        if (!strstr(fault.text, mistakes[i].says))
            fail_msg("'%s' does not say '%s'", fault.text, mistakes[i].says);
    }
}

static void a_device_that_needs_shared_memory_says_so(void **state)
{
    struct ob_program needy = program;
    struct options options;
    struct ob_fault fault = {0};
    struct config config = {0};
    char *argv[] = {"test", "--fd=1", "--wire=vfio-user", "--dma=messages", NULL};
    needy.needs_shared_memory = true;
    optind = 0;
    assert_int_equal(getopt(1, argv, "+"), -1);
    assert_int_equal(options_parse(&needy, &config, 4, argv, &options, &fault), -EINVAL);
    assert_non_null(
        strstr(fault.text, "--dma: got messages, expected shared: this device maps guest memory"));
}

static void numbers_have_bounds(void **state)
{
    struct ob_fault fault = {0};
    uint64_t number = 77;
    assert_int_equal(ob_option_number("5", 5, 6, &number, &fault), 0);
    assert_int_equal(number, 5);
    assert_int_equal(ob_option_number("18446744073709551615", 0, UINT64_MAX, &number, &fault), 0);
    assert_true(number == UINT64_MAX);
    assert_int_equal(ob_option_number("4", 5, 6, &number, &fault), -EINVAL);
    assert_int_equal(ob_option_number("7", 5, 6, &number, NULL), -EINVAL);
    assert_int_equal(ob_option_number("+5", 5, 6, &number, NULL), -EINVAL);
    assert_int_equal(ob_option_number("0x5", 5, 6, &number, NULL), -EINVAL);
    assert_true(number == UINT64_MAX);
    assert_string_equal(fault.text, "got '4', expected a number from 5 to 6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_there),
        TEST(a_cell_is_asked_for),
        TEST(every_option_is_applied),
        TEST(dma_by_messages_settles_the_wire),
        TEST(questions_come_before_service),
        TEST(mistakes_are_named),
        TEST(a_device_that_needs_shared_memory_says_so),
        TEST(numbers_have_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
