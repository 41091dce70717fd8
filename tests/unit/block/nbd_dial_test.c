// SPDX-License-Identifier: BSD-3-Clause
/* A name that nobody answers for: getaddrinfo(3) is the test's own, and waits as long as it says.
 */
#include "block/nbd_dial.h"

#include "support.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int asked[2];    /* getaddrinfo() has been called: a byte */
static int answered[2]; /* it may return: a byte */

/* libnbd's calls come here. */
__attribute__((visibility("default"))) int getaddrinfo(const char *restrict name,
                                                       const char *restrict service,
                                                       const struct addrinfo *restrict hints,
                                                       struct addrinfo **restrict ret_list)
{
    char byte = 0;
    if (write(asked[1], &byte, 1) != 1 || read(answered[0], &byte, 1) != 1)
        abort();
    return EAI_FAIL;
}

static void wait_for(int fd)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    while (poll(&readable, 1, -1) < 0)
        assert_int_equal(errno, EINTR);
}

/* The thread that nobody waits for closes what it has. */
static void wait_for_threads(int descriptors)
{
    while (open_descriptors() != descriptors)
        sched_yield();
}

static void open_pipes(void)
{
    assert_int_equal(pipe(asked), 0);
    assert_int_equal(pipe(answered), 0);
}

static void close_pipes(void)
{
    for (unsigned i = 0; i < 2; i++) {
        close(asked[i]);
        close(answered[i]);
    }
}

static void let_it_return(void)
{
    assert_int_equal(write(answered[1], "", 1), 1);
}

static void a_name_is_looked_up_by_another_thread(void **state)
{
    struct nbd_dial *dial = NULL;
    struct ob_fault fault = {0};
    open_pipes();
    int descriptors = open_descriptors();
    assert_int_equal(nbd_dial_new("nbd://images.test", &dial), 0);
    wait_for(asked[0]);
    assert_false(nbd_dial_has_ended(dial));
    let_it_return();
    wait_for(nbd_dial_fd(dial));
    assert_true(nbd_dial_has_ended(dial));
    assert_null(nbd_dial_take(dial, &fault));
    assert_int_equal(fault.code, -ECONNREFUSED);
    nbd_dial_free(dial);
    wait_for_threads(descriptors);
    close_pipes();
}

static void a_dial_is_left_while_it_looks_a_name_up(void **state)
{
    struct nbd_dial *dial = NULL;
    open_pipes();
    int descriptors = open_descriptors();
    assert_int_equal(nbd_dial_new("nbd://images.test", &dial), 0);
    wait_for(asked[0]);
    nbd_dial_hang_up(dial);
    assert_false(nbd_dial_has_ended(dial));
    nbd_dial_free(dial);
    let_it_return();
    wait_for_threads(descriptors);
    close_pipes();
}

static void a_server_that_says_nothing_is_hung_up(void **state)
{
    char folder[] = "/tmp/outboard-dial-XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char uri[256];
    struct nbd_dial *dial = NULL;
    struct ob_fault fault = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/nbd", folder);
    snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s/nbd", folder);
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listening, 1), 0);
    int descriptors = open_descriptors();

    assert_int_equal(nbd_dial_new(uri, &dial), 0);
    int connected = accept(listening, NULL, NULL);
    assert_false(nbd_dial_has_ended(dial));
    nbd_dial_hang_up(dial);
    wait_for(nbd_dial_fd(dial));
    assert_null(nbd_dial_take(dial, &fault));
    nbd_dial_free(dial);
    close(connected);
    wait_for_threads(descriptors);
    close(listening);
    unlink(address.sun_path);
    rmdir(folder);
}

static void a_server_that_is_not_there_is_a_reason(void **state)
{
    struct nbd_dial *dial = NULL;
    struct ob_fault fault = {0};
    int descriptors = open_descriptors();
    assert_int_equal(nbd_dial_new("nbd+unix:///?socket=/nowhere/at/all", &dial), 0);
    wait_for(nbd_dial_fd(dial));
    assert_null(nbd_dial_take(dial, &fault));
    assert_non_null(strstr(fault.text, "No such file or directory"));
    nbd_dial_free(dial);
    wait_for_threads(descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_name_is_looked_up_by_another_thread),
        TEST(a_dial_is_left_while_it_looks_a_name_up),
        TEST(a_server_that_says_nothing_is_hung_up),
        TEST(a_server_that_is_not_there_is_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
