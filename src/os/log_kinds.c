// SPDX-License-Identifier: BSD-3-Clause
#include "os/log_kinds.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* FNV-1a: formats that an author composes for each line are one kind too. */
static uint64_t hash_of(const char *format)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *format; format++)
        hash = (hash ^ (unsigned char)*format) * 0x100000001b3u;
    return hash ? hash : 1;
}

static void refill(struct log_kind *kind, struct log_rate rate, uint64_t now_ns)
{
    uint64_t count = (now_ns - kind->refilled_ns) / rate.refill_ns;
    if (count >= rate.burst - kind->tokens) {
        kind->tokens = rate.burst;
        kind->refilled_ns = now_ns;
        return;
    }
    kind->tokens += (unsigned)count;
    kind->refilled_ns += count * rate.refill_ns;
}

struct log_kind *log_kinds_find(struct log_kinds *kinds, const char *format, struct log_rate rate,
                                uint64_t now_ns, struct log_kind *ret_forgotten)
{
    uint64_t hash = hash_of(format);
    struct log_kind *oldest = &kinds->kind[0];
    ret_forgotten->skipped = 0;
    for (size_t i = 0; i < LIMIT_LOG_KINDS; i++) {
        struct log_kind *kind = &kinds->kind[i];
        if (kind->hash == hash)
            return kind;
        if (oldest->hash && (!kind->hash || kind->refilled_ns < oldest->refilled_ns))
            oldest = kind;
    }
    if (oldest->skipped)
        *ret_forgotten = *oldest;
    *oldest = (struct log_kind){
        .hash = hash, .refilled_ns = now_ns, .refill_ns = rate.refill_ns, .tokens = rate.burst};
    return oldest;
}

bool log_kind_take(struct log_kind *kind, struct log_rate rate, uint64_t now_ns, const char *text)
{
    refill(kind, rate, now_ns);
    if (kind->tokens > 0) {
        kind->tokens--;
        return true;
    }
    if (kind->skipped++ == 0)
        snprintf(kind->sample, sizeof(kind->sample), "%s", text);
    return false;
}

uint64_t log_kind_due(const struct log_kind *kind)
{
    return kind->skipped ? kind->refilled_ns + kind->refill_ns : UINT64_MAX;
}

/* The number with a comma between each three digits. */
static void group_digits(uint64_t number, char *ret_text, size_t size)
{
    char digits[24];
    size_t used = 0;
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, number);
    for (int i = 0; i < len && used + 2 < size; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            ret_text[used++] = ',';
        ret_text[used++] = digits[i];
    }
    ret_text[used] = '\0';
}

void log_kind_summary(struct log_kind *kind, char *ret_text, size_t size)
{
    char count[32];
    group_digits(kind->skipped, count, sizeof(count));
    snprintf(ret_text, size, "... and %s more like this: %s", count, kind->sample);
    kind->skipped = 0;
}
