// SPDX-License-Identifier: BSD-3-Clause
/* Prometheus' text format 0.0.4: all samples of a metric together, behind its HELP and TYPE. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/printable.h"
#include "ctl.h"

#define NS_PER_S    1e9
#define MS_PER_S    1e3
#define BUCKETS_MAX 64

static const struct {
    const char *member, *name, *help;
} counters[] = {
    {"requests", "requests", "Messages of the VMM that were carried out."},
    {"bytes-in", "received_bytes", "Bytes of messages that were received."},
    {"bytes-out", "sent_bytes", "Bytes of messages that were sent."},
    {"polls", "polls", "Looks at the socket without blocking that found nothing."},
    {"wakes", "wakes", "Messages that ended a block."},
    {"reads", "reads", "Reads of the guest."},
    {"bytes-read", "read_bytes", "Bytes that the guest has read."},
    {"writes", "writes", "Writes of the guest."},
    {"bytes-written", "written_bytes", "Bytes that the guest has written."},
    {"restarts", "restarts", "Processes that continued for another one."},
    {"others", "other_io", "Requests of the guest without data."},
};

static void put_label(const char *text)
{
    char form[PRINTABLE_BYTE_MAX];
    for (; *text; text++) {
        size_t len = printable_byte(form, (unsigned char)*text);
        for (size_t i = 0; i < len; i++)
            printf(form[i] == '"' || form[i] == '\\' ? "\\%c" : "%c", form[i]);
    }
}

/* The labels of a sample, without the closing brace. */
static void put_labels(const char *machine, const struct json *row)
{
    fputs("{machine=\"", stdout);
    put_label(machine);
    fputs("\",device=\"", stdout);
    put_label(control_text(row, "device"));
    putchar('"');
}

static void head(const char *name, const char *type, const char *help)
{
    printf("# HELP outboard_%s %s\n# TYPE outboard_%s %s\n", name, help, name, type);
}

static void print_counter(const char *machine, const struct json *stats, size_t number)
{
    char name[64];
    snprintf(name, sizeof(name), "device_%s_total", counters[number].name);
    head(name, "counter", counters[number].help);
    for (const struct json *row = stats->first; row; row = row->next) {
        if (!json_member(row, counters[number].member))
            continue;
        printf("outboard_%s", name);
        put_labels(machine, row);
        printf("} %" PRIu64 "\n", control_number(row, counters[number].member));
    }
}

/* The device may have written anything: a sum may overflow, and does no harm. */
static void print_buckets(const char *name, const char *machine, const struct json *row,
                          const struct json *times)
{
    const struct json *counts = json_member(times, "counts");
    double edge_ns = (double)control_number(times, "first-ns");
    uint64_t sum = 0;
    const struct json *one = counts && counts->type == JSON_ARRAY ? counts->first : NULL;
    for (; one; one = one->next, edge_ns *= 2) {
        sum += one->type == JSON_INT    ? (uint64_t)one->integer
               : one->type == JSON_UINT ? one->unsigned_integer
                                        : 0;
        printf("outboard_%s_bucket", name);
        put_labels(machine, row);
        if (one->next)
            printf(",le=\"%.9g\"} %" PRIu64 "\n", edge_ns / NS_PER_S, sum);
        else
            printf(",le=\"+Inf\"} %" PRIu64 "\n", sum);
    }
    printf("outboard_%s_sum", name);
    put_labels(machine, row);
    printf("} %.9g\noutboard_%s_count", (double)control_number(times, "sum-ns") / NS_PER_S, name);
    put_labels(machine, row);
    printf("} %" PRIu64 "\n", sum);
}

static void print_histogram(const char *machine, const struct json *stats, const char *member,
                            const char *name, const char *help)
{
    head(name, "histogram", help);
    for (const struct json *row = stats->first; row; row = row->next) {
        const struct json *times = json_member(row, member);
        if (times && times->type == JSON_OBJECT)
            print_buckets(name, machine, row, times);
    }
}

static void print_states(const char *machine, const struct json *list)
{
    static const char *const states[] = {"starting", "ready", "hung", "ended", "failed"};
    head("device_state", "gauge", "1 for the state that the device is in.");
    for (const struct json *row = list->first; row; row = row->next)
        for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
            fputs("outboard_device_state", stdout);
            put_labels(machine, row);
            printf(",state=\"%s\"} %d\n", states[i],
                   strcmp(control_text(row, "state"), states[i]) == 0);
        }
}

static void print_machine(const char *machine, const char *name, const char *type, const char *help,
                          double value)
{
    head(name, type, help);
    printf("outboard_%s{machine=\"", name);
    put_label(machine);
    printf("\"} %.9g\n", value);
}

void ctl_print_prometheus(const char *machine, const struct json *stats, const struct json *list,
                          const struct json *status)
{
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
        print_counter(machine, stats, i);
    print_histogram(machine, stats, "message-times", "device_message_seconds",
                    "Time from receiving messages to sending the replies that follow at once.");
    print_histogram(machine, stats, "io-times", "device_io_seconds",
                    "Time from a request of the guest to its completion.");
    print_states(machine, list);
    print_machine(machine, "machine_running", "gauge", "1 while the VM is known to run.",
                  strcmp(control_text(status, "state"), "running") == 0);
    print_machine(machine, "machine_pauses_total", "counter", "Pauses for devices that hung.",
                  (double)control_number(status, "pauses"));
    print_machine(machine, "machine_paused_seconds_total", "counter", "Their length.",
                  (double)control_number(status, "paused-ms") / MS_PER_S);
}
