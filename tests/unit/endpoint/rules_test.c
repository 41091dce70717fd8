// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/rules.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>

static void add(struct rules *rules, bool allow, const char *text)
{
    struct ob_fault fault = {0};
    assert_int_equal(rules_add(rules, allow, text, &fault), 0);
}

static bool allowed(const struct rules *rules, const char *name, const char *number, uint32_t port)
{
    struct address address = {.kind = ADDRESS_TCP, .port = port};
    snprintf(address.name, sizeof(address.name), "%s", number);
    return rules_allow(rules, name, NULL, &address);
}

static void nothing_is_allowed_by_default(void **state)
{
    struct rules rules = {0};
    assert_false(allowed(&rules, "localhost", "127.0.0.1", 80));
    assert_false(rules_allow_name(&rules, "localhost", 80));
}

static void networks_and_ports(void **state)
{
    struct rules rules = {0};
    add(&rules, true, "10.0.0.0/9:80-90");
    add(&rules, true, "[2001:db8::/33]:*");
    add(&rules, true, "192.0.2.1:443");
    assert_true(allowed(&rules, NULL, "10.127.0.1", 80));
    assert_true(allowed(&rules, NULL, "10.0.0.0", 90));
    assert_true(allowed(&rules, NULL, "::ffff:10.0.0.1", 80));
    assert_false(allowed(&rules, NULL, "10.128.0.1", 80));
    assert_false(allowed(&rules, NULL, "10.0.0.1", 79));
    assert_false(allowed(&rules, NULL, "10.0.0.1", 91));
    assert_true(allowed(&rules, NULL, "2001:db8:7fff::1", 1));
    assert_false(allowed(&rules, NULL, "2001:db8:8000::1", 1));
    assert_true(allowed(&rules, NULL, "192.0.2.1", 443));
    assert_false(allowed(&rules, NULL, "192.0.2.2", 443));
    rules_done(&rules);
}

/* A name of stars alone, with the dot of the root or without. */
static void any_host_in_every_spelling(void **state)
{
    static const char *const texts[] = {"*:22", "*.:22", "**:22"};
    const struct address number = {.kind = ADDRESS_TCP, .name = "192.0.2.1", .port = 22};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct rules rules = {0};
        add(&rules, false, texts[i]);
        add(&rules, true, "192.0.2.0/24:*");
        assert_false(rules_allow(&rules, NULL, NULL, &number));
        assert_false(rules_allow_name(&rules, "host", 22));
        rules_done(&rules);
    }
}

static void the_first_match_decides(void **state)
{
    struct rules rules = {0};
    add(&rules, false, "127.0.0.0/8:*");
    add(&rules, false, "secret.example:*");
    add(&rules, true, "*:443");
    assert_true(allowed(&rules, "www.example", "192.0.2.1", 443));
    assert_false(allowed(&rules, "www.example", "127.0.0.1", 443));
    assert_false(allowed(&rules, "secret.example", "192.0.2.1", 443));
    assert_false(allowed(&rules, "www.example", "192.0.2.1", 80));
    rules_done(&rules);
}

static void names_are_judged_before_they_are_resolved(void **state)
{
    struct rules rules = {0};
    add(&rules, true, "*.example:80");
    assert_true(rules_allow_name(&rules, "www.example", 80));
    assert_false(rules_allow_name(&rules, "www.example", 81));
    assert_false(rules_allow_name(&rules, "www.example.org", 80));
    assert_true(allowed(&rules, "www.example", "192.0.2.1", 80));
    assert_false(allowed(&rules, NULL, "192.0.2.1", 80));
    add(&rules, true, "10.0.0.0/8:80"); /* any name may turn out to be there */
    assert_true(rules_allow_name(&rules, "www.example.org", 80));
    assert_false(allowed(&rules, "www.example.org", "192.0.2.1", 80));
    assert_true(allowed(&rules, "www.example.org", "10.0.0.1", 80));
    rules_done(&rules);
}

static void a_denied_name_is_not_reached_by_an_alias(void **state)
{
    struct rules rules = {0};
    const struct address address = {.kind = ADDRESS_TCP, .name = "192.0.2.1", .port = 80};
    add(&rules, false, "Secret.Example.:*");
    add(&rules, true, "*.example:*");
    assert_true(rules_allow(&rules, "alias.example", "", &address));
    assert_true(rules_allow(&rules, "alias.example", "www.other", &address));
    assert_false(rules_allow(&rules, "alias.example", "secret.example", &address));
    assert_false(
        rules_allow(&rules, "www.other", "www.example", &address)); /* an alias allows nothing */
    rules_done(&rules);
}

static void other_families_are_never_allowed(void **state)
{
    struct rules rules = {0};
    const struct address local = {.kind = ADDRESS_UNIX, .name = "127.0.0.1"};
    add(&rules, true, "*:*");
    assert_false(rules_allow(&rules, NULL, NULL, &local));
    rules_done(&rules);
}

static void texts_that_are_no_rule(void **state)
{
    static const char *const texts[] = {
        "",        "host",          "host:",      ":80",      "host:90-80", "host:x",
        "host:1-", "10.0.0.0/33:1", "[::/129]:1", "name/8:1", "host:65536", "10.0.0.0/:1",
        "a..b:1",  "host..:1",      "h\\111:1",   "h st:1",   "127.1:1",    "0x7f.0.0.1:1",
    };
    struct rules rules = {0};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct ob_fault fault = {0};
        assert_int_equal(rules_add(&rules, true, texts[i], &fault), -EINVAL);
    }
    assert_int_equal(rules.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_allowed_by_default),
        TEST(networks_and_ports),
        TEST(any_host_in_every_spelling),
        TEST(the_first_match_decides),
        TEST(names_are_judged_before_they_are_resolved),
        TEST(other_families_are_never_allowed),
        TEST(texts_that_are_no_rule),
        TEST(a_denied_name_is_not_reached_by_an_alias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
