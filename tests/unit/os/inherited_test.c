// SPDX-License-Identifier: BSD-3-Clause
#include "os/inherited.h"

#include "support.h"

static void numbers_of_a_command_line(void **state)
{
    static const struct {
        const char *word;
        int fd;
        bool is_named;
    } cases[] = {
        {"7", 7, true},
        {"--fd=7", 7, true},
        {"--fd=07", 7, true},
        {"fd:7", 7, true},
        {"vhostfds=5:7", 7, true},
        {"vhostfds=5:7", 5, true},
        {"fds=7,vhost=on", 7, true},
        {"nbd+unix:///?socket=/proc/self/fd/7", 7, true},
        {"nbd+unix:///?socket=/proc/self/fd/7;x", 7, true},
        {"/dev/fd/7/", 7, true},
        {"--fd=77", 7, false},
        {"--fd=17", 7, false},
        {"/tmp/folder-7/image", 7, false},
        {"disk7", 7, false},
        {"7disk", 7, false},
        {"--fd=7x", 7, false},
        {"--fd=0x7", 7, false},
        {"--fd=18446744073709551623", 7, false},
        {"", 7, false},
        {"--fd", 7, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (inherited_is_named(cases[i].word, cases[i].fd) != cases[i].is_named)
            fail_msg("'%s' and %d", cases[i].word, cases[i].fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(numbers_of_a_command_line)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
