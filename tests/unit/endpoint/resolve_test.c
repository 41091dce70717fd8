// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/resolve.h"

#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct party {
    struct loop *loop;
    struct children *children;
    struct resolve *resolve;
    int count; /* -1: no answer yet */
    in_addr_t address;
};

static void done(void *argument, const struct resolved *resolved)
{
    struct party *party = argument;
    party->count = (int)resolved->count;
    if (resolved->count > 0)
        party->address = ((const struct sockaddr_in *)resolved->address)->sin_addr.s_addr;
}

static void resolve(struct party *party, const char *name)
{
    *party = (struct party){.count = -1};
    assert_int_equal(loop_new(&party->loop), 0);
    assert_int_equal(children_new(party->loop, &party->children), 0);
    assert_int_equal(
        resolve_start(party->loop, party->children, name, done, party, &party->resolve), 0);
    assert_int_equal(party->count, -1);
}

static void tear_down(struct party *party)
{
    children_free(party->children);
    loop_free(party->loop);
}

static void answer_comes_from_the_loop(void **state)
{
    struct party party;
    resolve(&party, "127.0.0.9");
    while (party.count < 0)
        assert_true(loop_wait(party.loop, 60000) >= 0);
    assert_true(party.count >= 1);
    assert_int_equal(party.address, inet_addr("127.0.0.9"));
    tear_down(&party);
}

static void name_without_an_address(void **state)
{
    struct party party;
    resolve(&party, "not a name");
    while (party.count < 0)
        assert_true(loop_wait(party.loop, 60000) >= 0);
    assert_int_equal(party.count, 0);
    tear_down(&party);
}

/* As in a guest that has none: the child looks into the hosts file itself. */
static void name_where_there_is_no_getent(void **state)
{
    struct party party;
    const char *path = getenv("PATH");
    char *kept = path ? strdup(path) : NULL;
    setenv("PATH", "/nowhere", 1);
    resolve(&party, "localhost");
    if (kept)
        setenv("PATH", kept, 1);
    free(kept);
    while (party.count < 0)
        assert_true(loop_wait(party.loop, 60000) >= 0);
    assert_true(party.count >= 1);
    tear_down(&party);
}

static void cancelled_resolve_gives_no_answer(void **state)
{
    struct party party;
    resolve(&party, "127.0.0.9");
    resolve_cancel(party.resolve);
    assert_true(loop_wait(party.loop, 60000) > 0); /* the child's end */
    assert_int_equal(party.count, -1);
    tear_down(&party);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answer_comes_from_the_loop),
        TEST(name_without_an_address),
        TEST(name_where_there_is_no_getent),
        TEST(cancelled_resolve_gives_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
