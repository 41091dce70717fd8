// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/credentials.h"

#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect(int fd, const char *expected)
{
    char text[CREDENTIALS_TEXT_MAX];
    memset(text, 'x', sizeof(text));
    credentials_describe(fd, NULL, text);
    assert_string_equal(text, expected);
}

static void a_unix_socket_names_user_and_process(void **state)
{
    int ends[2];
    char expected[CREDENTIALS_TEXT_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    snprintf(expected, sizeof(expected), "uid %u, pid %d", geteuid(), getpid());
    expect(ends[0], expected);
    close(ends[1]);
    expect(ends[0], expected); /* the kernel keeps what was true when it connected */
    close(ends[0]);
}

/* Of TCP, a pipe and a closed descriptor nothing is known, and what stood in the text is gone. */
static void of_other_descriptors_nothing_is_said(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int ends[2], tcp = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(tcp, (struct sockaddr *)&address, sizeof(address)), 0);
    expect(tcp, "");
    assert_int_equal(pipe(ends), 0);
    expect(ends[0], "");
    close(ends[0]);
    expect(ends[0], "");
    expect(-1, "");
    close(ends[1]);
    close(tcp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_unix_socket_names_user_and_process),
        TEST(of_other_descriptors_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
