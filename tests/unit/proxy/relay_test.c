// SPDX-License-Identifier: BSD-3-Clause
/* Bytes, ends and breaks between a client of -L and a service: relay.c, listener.c, service.c,
 * flow.c. */
#include "proxy/relay.h"

#include "lab.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORWARD "-L unix:@/front:web"
#define SERVE   "-s web=unix:@/back"
#define MUCH    (3u << 20) /* more than sockets and windows hold */

/* Both ends of a relayed connection. */
struct ends {
    int front, back, listener;
};

static void join(struct lab *lab, struct ends *ret_ends)
{
    lab_until_up(lab);
    ret_ends->listener = lab_listen(lab, "back");
    ret_ends->front = lab_connect(lab, "front");
    ret_ends->back = lab_accept(lab, ret_ends->listener);
}

static void part(struct ends *ends)
{
    close(ends->front);
    close(ends->back);
    close(ends->listener);
}

static void bytes_go_both_ways(void **state)
{
    struct lab lab;
    struct ends ends;
    lab_start(&lab, FORWARD, SERVE);
    join(&lab, &ends);
    lab_send(ends.front, "question", 8);
    lab_expect_text(&lab, ends.back, "question");
    lab_send(ends.back, "answer", 6);
    lab_expect_text(&lab, ends.front, "answer");
    part(&ends);
    lab_stop(&lab);
}

static void each_direction_has_an_end_of_its_own(void **state)
{
    struct lab lab;
    struct ends ends;
    lab_start(&lab, FORWARD, SERVE);
    join(&lab, &ends);
    lab_send(ends.front, "all", 3);
    shutdown(ends.front, SHUT_WR);
    lab_expect_text(&lab, ends.back, "all");
    lab_expect_end(&lab, ends.back);
    lab_send(ends.back, "still", 5);
    lab_expect_text(&lab, ends.front, "still");
    shutdown(ends.back, SHUT_WR);
    lab_expect_end(&lab, ends.front);
    part(&ends);
    lab_stop(&lab);
}

struct flood {
    int from, to;
    size_t sent, got;
    uint8_t bytes[65536];
};

static uint8_t byte_at(size_t at)
{
    return (uint8_t)(at * 31 + at / 256);
}

static bool has_flooded(void *argument)
{
    struct flood *flood = argument;
    size_t len =
        MUCH - flood->sent < sizeof(flood->bytes) ? MUCH - flood->sent : sizeof(flood->bytes);
    for (size_t i = 0; i < len; i++)
        flood->bytes[i] = byte_at(flood->sent + i);
    ssize_t put = len ? send(flood->from, flood->bytes, len, MSG_NOSIGNAL) : 0;
    assert_true(put >= 0 || errno == EAGAIN);
    flood->sent += put > 0 ? (size_t)put : 0;
    ssize_t got = recv(flood->to, flood->bytes, sizeof(flood->bytes), 0);
    assert_true(got > 0 || errno == EAGAIN);
    for (ssize_t i = 0; i < got; i++)
        if (flood->bytes[i] != byte_at(flood->got + (size_t)i))
            fail_msg("byte %zu is another one", flood->got + (size_t)i);
    flood->got += got > 0 ? (size_t)got : 0;
    return flood->got == MUCH;
}

static void more_than_a_window_arrives_whole(void **state)
{
    struct lab lab;
    struct ends ends;
    lab_start(&lab, FORWARD " --window=10000", SERVE " --window=3000");
    join(&lab, &ends);
    struct flood flood = {.from = ends.front, .to = ends.back};
    lab_until(&lab, has_flooded, &flood);
    flood = (struct flood){.from = ends.back, .to = ends.front};
    lab_until(&lab, has_flooded, &flood);
    part(&ends);
    lab_stop(&lab);
}

static void a_service_that_goes_ends_its_client(void **state)
{
    struct lab lab;
    struct ends ends;
    lab_start(&lab, FORWARD, SERVE);
    join(&lab, &ends);
    lab_send(ends.back, "last words", 10);
    close(ends.back);
    ends.back = -1;
    lab_expect_text(&lab, ends.front, "last words");
    lab_expect_end(&lab, ends.front);
    close(ends.front);
    close(ends.listener);
    lab_stop(&lab);
}

static bool has_no_flows(void *argument)
{
    const struct lab *lab = argument;
    return list_empty(&lab->ends[0].proxy.flows) && list_empty(&lab->ends[1].proxy.flows);
}

static void a_client_that_goes_leaves_no_flow(void **state)
{
    struct lab lab;
    struct ends ends;
    lab_start(&lab, FORWARD, SERVE);
    join(&lab, &ends);
    close(ends.front);
    lab_expect_end(&lab, ends.back);
    close(ends.back);
    close(ends.listener);
    lab_until(&lab, has_no_flows, &lab);
    lab_stop(&lab);
}

static void what_is_not_declared_is_refused(void **state)
{
    static const char *const services[] = {"nope", "tcp:127.0.0.1:1", "@run", "@what"};
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        struct lab lab;
        char words[100];
        snprintf(words, sizeof(words), "-L unix:@/front:%s", services[i]);
        lab_start(&lab, words, SERVE);
        lab_until_up(&lab);
        int client = lab_connect(&lab, "front");
        lab_expect_end(&lab, client);
        close(client);
        lab_stop(&lab);
    }
}

static void a_service_can_be_a_command(void **state)
{
    struct lab lab;
    /* Words of the lab have no spaces. */
    lab_start(&lab, "-L unix:@/front:cat", "-s cat=exec:cat");
    lab_until_up(&lab);
    int client = lab_connect(&lab, "front");
    lab_send(client, "echo", 4);
    lab_expect_text(&lab, client, "echo");
    shutdown(client, SHUT_WR);
    lab_expect_end(&lab, client);
    close(client);
    lab_until(&lab, has_no_flows, &lab);
    lab_stop(&lab);
}

struct sending {
    struct lab *lab;
    int fd;
    size_t left;
};

/* Sends what there is room for. Whether all is sent, and has reached the command's end. */
static bool has_reached_the_command(void *argument)
{
    static const uint8_t bytes[65536];
    struct sending *sending = argument;
    const struct list *flows = &sending->lab->ends[LAB_THE_OTHER].proxy.flows;
    struct ob_stream_stats stats;
    size_t len = sending->left < sizeof(bytes) ? sending->left : sizeof(bytes);
    ssize_t put = 0;
    if (sending->left > 0)
        put = send(sending->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put > 0 && (sending->left -= (size_t)put) == 0)
        shutdown(sending->fd, SHUT_WR);
    if (sending->left > 0 || list_empty(flows))
        return false;
    ob_stream_stats(list_entry(flows->next, struct flow, link)->stream, &stats);
    return stats.ended && stats.unread > 0;
}

/* What a command has left unread when it ends holds nothing, if its client had said all before. */
static void a_command_that_does_not_read_leaves_no_flow(void **state)
{
    struct lab lab;
    char fifo[108];
    lab_start(&lab, "-L unix:@/front:late", "-s late=exec::<@/fifo");
    assert_int_equal(mkfifo(lab_path(&lab, "fifo", fifo), 0600), 0);
    lab_until_up(&lab);
    /* More than a socket takes, and no more than that and a window. */
    struct sending sending = {.lab = &lab, .fd = lab_connect(&lab, "front"), .left = 300000};
    lab_until(&lab, has_reached_the_command, &sending);
    close(open(fifo, O_WRONLY | O_CLOEXEC)); /* now it ends */
    lab_expect_end(&lab, sending.fd);
    lab_until(&lab, has_no_flows, &lab);
    close(sending.fd);
    unlink(fifo);
    lab_stop(&lab);
}

static bool has_ended(void *argument)
{
    const struct lab *lab = argument;
    return ob_session_tag(lab->ends[LAB_OURS].proxy.session) == 0;
}

static void a_channel_that_goes_breaks_its_streams(void **state)
{
    struct lab lab;
    struct ends ends;
    lab_start(&lab, FORWARD, SERVE);
    join(&lab, &ends);
    shutdown(lab.ends[LAB_THE_OTHER].channel, SHUT_RDWR);
    lab_until(&lab, has_ended, &lab);
    lab_expect_end(&lab, ends.front);
    assert_true(lab.ends[LAB_OURS].proxy.stop); /* a descriptor's channel does not come back */
    part(&ends);
    lab_stop(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_go_both_ways),
        TEST(each_direction_has_an_end_of_its_own),
        TEST(more_than_a_window_arrives_whole),
        TEST(a_service_that_goes_ends_its_client),
        TEST(a_client_that_goes_leaves_no_flow),
        TEST(what_is_not_declared_is_refused),
        TEST(a_service_can_be_a_command),
        TEST(a_command_that_does_not_read_leaves_no_flow),
        TEST(a_channel_that_goes_breaks_its_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
