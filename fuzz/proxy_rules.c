// SPDX-License-Identifier: BSD-3-Clause
/*
 * Rules of the proxy, against a model that compares bit by bit and byte by byte.
 *
 * An input is a list of rules and then a list of questions. Each rule is made from its parts, so
 * that the model never parses a text; it is added to two lists, each in a spelling of its own.
 *
 * Invariants:
 * - the verdict about a name, and about an address to which a name leads, is the model's;
 * - each spelling of a rule, of a name and of an address gives the same verdict;
 * - a text that is refused as a rule leaves the list as it is, with a fault; of one that is
 *   accepted, the allowing rule allows just what the denying rule denies.
 */
#include "endpoint/rules.h"

#include "check.h"
#include "endpoint/hostname.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RULES 12
#define TEXT  600

struct input {
    const uint8_t *at;
    size_t left;
};

enum kind {
    ANY,
    NAME,
    NETWORK,
    KINDS,
};

struct number {
    uint8_t bytes[16];
    bool is_v4; /* to be written as such; its bytes are those of ::ffff:a.b.c.d */
};

struct model_rule {
    bool allow;
    enum kind kind;
    char name[128];
    struct number network;
    unsigned bits;
    unsigned first_port, last_port;
};

struct model {
    struct model_rule rule[RULES];
    size_t count;
};

static unsigned take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

/* Few values, and neighbours, so that rules and questions meet. */
static unsigned take_port(struct input *input)
{
    static const unsigned some[] = {0, 1, 79, 80, 81, 8000, 65534, 65535};
    return some[take(input) % 8];
}

static struct number take_number(struct input *input)
{
    struct number number = {.is_v4 = take(input) & 1};
    size_t at = 0;
    if (number.is_v4) {
        number.bytes[10] = number.bytes[11] = 0xff;
        at = 12;
    }
    /* Bytes at both ends: what is between them is zero, or is what an IPv4 address has there. */
    for (size_t i = at; i < 16; i++)
        if (number.is_v4 || i < 3 || i >= 13)
            number.bytes[i] = (uint8_t)take(input);
    if (!number.is_v4 && take(input) % 4 == 0) {
        memset(number.bytes, 0, 10);
        number.bytes[10] = number.bytes[11] = 0xff;
    }
    return number;
}

/* One to four labels, each of a letter or, in a pattern, a star, and up to three bytes more. */
static void take_name(struct input *input, bool is_pattern, char ret_name[128])
{
    static const char more[] = "ab1-_*";
    unsigned shape = take(input);
    char *out = ret_name;
    for (unsigned label = 0; label <= shape % 4; label++) {
        unsigned bytes = take(input);
        if (label > 0)
            *out++ = '.';
        *out++ = is_pattern && bytes & 4 ? '*' : "ab"[bytes >> 3 & 1];
        for (unsigned i = 0; i < bytes % 4; i++)
            *out++ = more[take(input) % (is_pattern ? 6 : 5)];
    }
    *out = '\0';
}

/* Capitals and a dot at the end, as the bits of how say. */
static void spell_name(const char *name, unsigned how, char ret_text[TEXT])
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++)
        ret_text[i] = how >> i % 7 & 1 ? (char)toupper((unsigned char)name[i]) : name[i];
    if (how & 0x80 && strcmp(name, "*") != 0)
        ret_text[len++] = '.';
    ret_text[len] = '\0';
}

/* An IPv4 address has one spelling as such, and is also an IPv6 address; of these there are the
 * short one, the long one, and that with an IPv4 address at its end. */
static void spell_number(const struct number *number, unsigned how, char ret_text[TEXT])
{
    const uint8_t *b = number->bytes;
    char *out = ret_text;
    bool capitals = how & 4;
    if (number->is_v4 && how % 4 != 3) {
        snprintf(ret_text, TEXT, "%u.%u.%u.%u", b[12], b[13], b[14], b[15]);
        return;
    }
    if (how % 4 == 0) {
        inet_ntop(AF_INET6, b, ret_text, TEXT);
        return;
    }
    for (size_t i = 0; i < (how % 4 == 1 ? 16 : 12); i += 2)
        out += sprintf(out, capitals ? "%s%X" : "%s%04x", i ? ":" : "", b[i] << 8 | b[i + 1]);
    if (how % 4 != 1)
        sprintf(out, ":%u.%u.%u.%u", b[12], b[13], b[14], b[15]);
}

static void spell_host(const struct model_rule *rule, unsigned how, char ret_text[TEXT])
{
    char text[TEXT];
    unsigned bits = rule->bits;
    if (rule->kind == ANY && !rule->name[0]) {
        strcpy(ret_text, "*");
        return;
    }
    if (rule->kind != NETWORK) {
        spell_name(rule->name, how, ret_text);
        return;
    }
    spell_number(&rule->network, how, text);
    bool brackets = strchr(text, ':');
    if (!brackets)
        bits -= 96;
    if (bits == (brackets ? 128 : 32) && how & 8)
        snprintf(ret_text, TEXT, brackets ? "[%.100s]" : "%.100s", text);
    else
        snprintf(ret_text, TEXT, brackets ? "[%.100s/%u]" : "%.100s/%u", text, bits);
}

static void spell_rule(const struct model_rule *rule, unsigned how, char ret_text[TEXT])
{
    char host[TEXT];
    spell_host(rule, how, host);
    if (rule->first_port == 0 && rule->last_port == 65535 && how & 16)
        snprintf(ret_text, TEXT, "%.300s:*", host);
    else if (rule->first_port == rule->last_port && how & 16)
        snprintf(ret_text, TEXT, "%.300s:%u", host, rule->first_port);
    else
        snprintf(ret_text, TEXT, "%.300s:%u-%u", host, rule->first_port, rule->last_port);
}

static struct model_rule take_rule(struct input *input)
{
    unsigned what = take(input);
    struct model_rule rule = {.allow = what & 1, .kind = (what >> 1) % KINDS};
    unsigned one = take_port(input), other = take_port(input);
    rule.first_port = one < other ? one : other;
    rule.last_port = one < other ? other : one;
    if (rule.kind == NAME) {
        take_name(input, true, rule.name);
        if (rule.name[strspn(rule.name, "*")] == '\0')
            rule.kind = ANY; /* addresses too */
    }
    if (rule.kind == NETWORK) {
        rule.network = take_number(input);
        rule.bits = rule.network.is_v4 ? 96 + take(input) % 33 : take(input) % 129;
    }
    return rule;
}

/* A star stands for any bytes, dots too. */
static bool model_name_matches(const char *pattern, const char *name)
{
    if (*pattern == '*')
        return model_name_matches(pattern + 1, name) ||
               (*name && model_name_matches(pattern, name + 1));
    if (!*pattern || *pattern != *name)
        return *pattern == *name;
    return model_name_matches(pattern + 1, name + 1);
}

static bool model_in_network(const struct model_rule *rule, const struct number *number)
{
    for (unsigned bit = 0; bit < rule->bits; bit++) {
        unsigned mask = 0x80u >> bit % 8;
        if ((rule->network.bytes[bit / 8] & mask) != (number->bytes[bit / 8] & mask))
            return false;
    }
    return true;
}

static bool model_has_port(const struct model_rule *rule, unsigned port)
{
    return rule->first_port <= port && port <= rule->last_port;
}

static bool model_allows_name(const struct model *model, const char *name, unsigned port)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct model_rule *rule = &model->rule[i];
        if (!model_has_port(rule, port))
            continue;
        if (rule->kind == ANY)
            return rule->allow;
        if (rule->kind == NAME && model_name_matches(rule->name, name))
            return rule->allow;
        if (rule->kind == NETWORK && rule->allow)
            return true;
    }
    return false;
}

static bool model_allows(const struct model *model, const char *name, const char *canonical,
                         const struct number *number, unsigned port)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct model_rule *rule = &model->rule[i];
        bool is_it = rule->kind == ANY;
        if (rule->kind == NETWORK)
            is_it = model_in_network(rule, number);
        if (rule->kind == NAME && name)
            is_it = model_name_matches(rule->name, name);
        if (rule->kind == NAME && !rule->allow && canonical)
            is_it = is_it || model_name_matches(rule->name, canonical);
        if (is_it && model_has_port(rule, port))
            return rule->allow;
    }
    return false;
}

/* The one form of a spelling is the name. */
static void canonicalize(const char *name, unsigned how, char ret_name[ADDRESS_NAME_MAX + 1])
{
    char text[TEXT];
    spell_name(name, how, text);
    CHECK(hostname_canonical(text, ret_name) == 0 && strcmp(ret_name, name) == 0);
}

static void ask(const struct rules lists[2], const struct model *model, struct input *input)
{
    unsigned what = take(input), how = take(input), port = take_port(input);
    char name[128], alias[128], formed[ADDRESS_NAME_MAX + 1], canonical[ADDRESS_NAME_MAX + 1];
    char text[TEXT];
    take_name(input, false, name);
    take_name(input, false, alias);
    canonicalize(name, how, formed);
    canonicalize(alias, how ^ 0xff, canonical);
    struct number number = what & 8 && model->count > 0 ? model->rule[what % model->count].network
                                                        : take_number(input);
    if (what & 16) /* one bit off the network's edge, or within it */
        number.bytes[take(input) % 16] ^= (uint8_t)(1u << how % 8);
    bool is_v4 = memcmp(number.bytes, "\0\0\0\0\0\0\0\0\0\0\377\377", 12) == 0;
    number.is_v4 = is_v4;
    const char *by_name = what & 1 ? formed : NULL, *leads_to = what & 2 ? canonical : NULL;
    bool by_name_expected = model_allows_name(model, name, port);
    bool expected = model_allows(model, by_name, leads_to, &number, port);
    for (unsigned spelling = 0; spelling < 4; spelling++) {
        struct address address = {.kind = ADDRESS_TCP, .port = port};
        spell_number(&number, spelling | (how & 4), text);
        strcpy(address.name, text);
        const struct rules *rules = &lists[spelling & 1];
        CHECK(rules_allow_name(rules, formed, (uint16_t)port) == by_name_expected);
        CHECK(rules_allow(rules, by_name, leads_to, &address) == expected);
    }
}

static void model_run(struct input *input)
{
    struct rules lists[2] = {0};
    struct model model = {0};
    struct ob_fault fault = {0};
    for (size_t rules = take(input) % (RULES + 1); model.count < rules; model.count++) {
        model.rule[model.count] = take_rule(input);
        const struct model_rule *rule = &model.rule[model.count];
        for (unsigned i = 0; i < 2; i++) {
            char text[TEXT];
            spell_rule(rule, take(input), text);
            CHECK(rules_add(&lists[i], rule->allow, text, &fault) == 0);
            CHECK(lists[i].count == model.count + 1);
        }
    }
    for (unsigned i = 0; i < 64 && (i == 0 || input->left > 0); i++)
        ask(lists, &model, input);
    rules_done(&lists[0]);
    rules_done(&lists[1]);
}

/* The rest of the input as the text of a rule. */
static void text_run(struct input *input)
{
    static const char *const addresses[] = {"127.0.0.1", "10.1.2.3", "::1", "fe80::1", "::"};
    struct rules allowing = {0}, denying = {0};
    struct ob_fault fault = {0};
    char text[TEXT];
    struct address address = {.kind = ADDRESS_TCP, .port = take_port(input)};
    strcpy(address.name, addresses[take(input) % 5]);
    size_t len = input->left < TEXT - 1 ? input->left : TEXT - 1;
    // cppcheck-suppress knownConditionTrueFalse ; an input may be longer
    for (size_t i = 0; i < len; i++)
        text[i] = (char)input->at[i];
    text[len] = '\0';
    int err = rules_add(&allowing, true, text, &fault);
    CHECK(err == 0 || err == -EINVAL);
    CHECK(allowing.count == (err == 0));
    CHECK(err == 0 || fault.text[0]);
    CHECK(rules_add(&denying, false, text, &fault) == err);
    CHECK(rules_add(&denying, true, "*:*", &fault) == 0);
    CHECK(rules_allow(&denying, NULL, NULL, &address) !=
          rules_allow(&allowing, NULL, NULL, &address));
    rules_done(&allowing);
    rules_done(&denying);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    if (take(&input) & 1)
        text_run(&input);
    else
        model_run(&input);
    return 0;
}
