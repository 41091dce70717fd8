// SPDX-License-Identifier: BSD-3-Clause
#include "top_rates.h"

#include <stdio.h>
#include <string.h>

#include "base/printable.h"
#include "control_client.h"

static void read_times(const struct json *row, const char *name, uint64_t *times, uint64_t *ret_sum)
{
    const struct json *object = json_member(row, name);
    const struct json *counts =
        object && object->type == JSON_OBJECT ? json_member(object, "counts") : NULL;
    const struct json *one = counts && counts->type == JSON_ARRAY ? counts->first : NULL;
    *ret_sum = 0;
    for (unsigned i = 0; i < STATISTICS_BUCKETS; i++, one = one ? one->next : NULL) {
        times[i] = one && one->type == JSON_INT    ? (uint64_t)one->integer
                   : one && one->type == JSON_UINT ? one->unsigned_integer
                                                   : 0;
        *ret_sum |= times[i];
    }
}

void top_sample_read(const struct json *row, struct top_sample *ret_sample)
{
    const char *device = control_text(row, "device");
    uint64_t any;
    printable_copy(ret_sample->device, sizeof(ret_sample->device), device, strlen(device));
    ret_sample->requests = control_number(row, "requests");
    ret_sample->reads = control_number(row, "reads");
    ret_sample->bytes_read = control_number(row, "bytes-read");
    ret_sample->writes = control_number(row, "writes");
    ret_sample->bytes_written = control_number(row, "bytes-written");
    ret_sample->polls = control_number(row, "polls");
    ret_sample->wakes = control_number(row, "wakes");
    read_times(row, "io-times", ret_sample->times, &any);
    if (!any)
        read_times(row, "message-times", ret_sample->times, &any);
}

static void subtract(uint64_t *number, uint64_t earlier)
{
    if (*number >= earlier)
        *number -= earlier;
}

void top_sample_subtract(struct top_sample *sample, const struct top_sample *earlier)
{
    subtract(&sample->requests, earlier->requests);
    subtract(&sample->reads, earlier->reads);
    subtract(&sample->bytes_read, earlier->bytes_read);
    subtract(&sample->writes, earlier->writes);
    subtract(&sample->bytes_written, earlier->bytes_written);
    subtract(&sample->polls, earlier->polls);
    subtract(&sample->wakes, earlier->wakes);
    for (unsigned i = 0; i < STATISTICS_BUCKETS; i++)
        subtract(&sample->times[i], earlier->times[i]);
}

/* Counts of a device may be anything; as floating point they don't overflow. */
uint64_t top_percentile(const struct top_sample *difference, unsigned percent)
{
    double all = 0, below = 0;
    for (unsigned i = 0; i < STATISTICS_BUCKETS; i++)
        all += (double)difference->times[i];
    for (unsigned i = 0; i < STATISTICS_BUCKETS && all > 0; i++) {
        below += (double)difference->times[i];
        if (below * 100 >= all * percent)
            return (uint64_t)STATISTICS_FIRST_NS << i;
    }
    return 0;
}

const char *top_number(double number, char *room)
{
    static const char units[] = " kMGTPE";
    unsigned unit = 0;
    while (number >= 999.5 && units[unit + 1]) {
        number /= 1000;
        unit++;
    }
    if (unit == 0)
        snprintf(room, 8, "%.0f", number);
    else
        snprintf(room, 8, number < 9.95 ? "%.1f%c" : "%.0f%c", number, units[unit]);
    return room;
}

const char *top_time(uint64_t ns, char *room)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double time = (double)ns;
    unsigned unit = 0;
    while (time >= 999.5 && unit < 3) {
        time /= 1000;
        unit++;
    }
    if (ns == 0)
        snprintf(room, 8, "-");
    else
        snprintf(room, 8, unit > 0 && time < 9.95 ? "%.1f%s" : "%.0f%s", time, units[unit]);
    return room;
}
