// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/hostname.h"

enum pattern {
    PATTERN_ANY,
    PATTERN_NAME,
    PATTERN_NETWORK,
};

struct rule {
    bool allow;
    enum pattern pattern;
    char name[ADDRESS_NAME_MAX + 1];
    uint8_t network[16]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned bits;       /* of network that count */
    uint32_t first_port, last_port;
};

/* An IPv4 or IPv6 address as 16 bytes. */
static bool parse_number(const char *text, uint8_t ret_bytes[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (inet_pton(AF_INET6, text, ret_bytes) == 1)
        return true;
    memcpy(ret_bytes, mapped, sizeof(mapped));
    return inet_pton(AF_INET, text, ret_bytes + sizeof(mapped)) == 1;
}

static bool in_network(const uint8_t address[16], const struct rule *rule)
{
    unsigned whole = rule->bits / 8, rest = rule->bits % 8;
    if (memcmp(address, rule->network, whole) != 0)
        return false;
    return rest == 0 || (address[whole] ^ rule->network[whole]) >> (8 - rest) == 0;
}

static int parse_host(char *host, struct rule *rule)
{
    char *slash = strchr(host, '/');
    uint32_t bits, max;
    if (strcmp(host, "*") == 0) {
        rule->pattern = PATTERN_ANY;
        return 0;
    }
    if (slash)
        *slash = '\0';
    if (!parse_number(host, rule->network)) {
        rule->pattern = PATTERN_NAME;
        if (slash || hostname_canonical_pattern(host, rule->name) < 0)
            return -EINVAL;
        if (rule->name[strspn(rule->name, "*")] == '\0') /* "*." or "**" */
            rule->pattern = PATTERN_ANY;
        return 0;
    }
    max = strchr(host, ':') ? 128 : 32;
    bits = max;
    if (slash && address_number(slash + 1, max, &bits) < 0)
        return -EINVAL;
    rule->pattern = PATTERN_NETWORK;
    rule->bits = 128 - max + bits;
    return 0;
}

static int parse_ports(const char *text, struct rule *rule)
{
    char first[8] = "";
    const char *dash = strchr(text, '-');
    if (strcmp(text, "*") == 0) {
        rule->last_port = 65535;
        return 0;
    }
    size_t len = dash ? (size_t)(dash - text) : strlen(text);
    if (len >= sizeof(first))
        return -EINVAL;
    memcpy(first, text, len);
    if (address_number(first, 65535, &rule->first_port) < 0 ||
        address_number(dash ? dash + 1 : first, 65535, &rule->last_port) < 0)
        return -EINVAL;
    return rule->first_port > rule->last_port ? -EINVAL : 0;
}

int rules_add(struct rules *rules, bool allow, const char *text, struct ob_fault *fault)
{
    struct rule rule = {.allow = allow};
    char host[ADDRESS_NAME_MAX + 1];
    const char *ports;
    if (address_split(text, host, &ports) < 0 || parse_host(host, &rule) < 0 ||
        parse_ports(ports, &rule) < 0)
        return ob_fault_set(fault, -EINVAL,
                            "got '%.150s', expected HOST:PORT; HOST may be *, a name, an address "
                            "or a network, PORT may be * or a range",
                            text);
    struct rule *grown = reallocarray(rules->rule, rules->count + 1, sizeof(rule));
    if (!grown)
        return ob_fault_set(fault, -ENOMEM, "no memory for a rule");
    rules->rule = grown;
    rules->rule[rules->count++] = rule;
    return 0;
}

void rules_done(struct rules *rules)
{
    free(rules->rule);
    *rules = (struct rules){0};
}

static bool has_port(const struct rule *rule, uint32_t port)
{
    return port >= rule->first_port && port <= rule->last_port;
}

static bool name_matches(const struct rule *rule, const char *name)
{
    return name && *name && fnmatch(rule->name, name, 0) == 0;
}

bool rules_allow_name(const struct rules *rules, const char *name, uint16_t port)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->rule[i];
        if (!has_port(rule, port))
            continue;
        if (rule->pattern == PATTERN_NETWORK && rule->allow)
            return true; /* perhaps it resolves to this */
        if (rule->pattern == PATTERN_ANY ||
            (rule->pattern == PATTERN_NAME && name_matches(rule, name)))
            return rule->allow;
    }
    return false;
}

/* A name that is allowed may lead to a host of another name; one that is denied may not be reached
 * by any. */
static bool matches(const struct rule *rule, const char *name, const char *canonical,
                    const uint8_t number[16])
{
    switch (rule->pattern) {
    case PATTERN_ANY:
        return true;
    case PATTERN_NAME:
        return name_matches(rule, name) || (!rule->allow && name_matches(rule, canonical));
    default:
        return in_network(number, rule);
    }
}

bool rules_allow(const struct rules *rules, const char *name, const char *canonical,
                 const struct address *address)
{
    uint8_t number[16];
    if (address->kind != ADDRESS_TCP || !parse_number(address->name, number))
        return false;
    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->rule[i];
        if (has_port(rule, address->port) && matches(rule, name, canonical, number))
            return rule->allow;
    }
    return false;
}
