// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/counts.h"

#include <unistd.h>

#include "base/statistics.h"

static void put_times(struct json_out *out, const char *name, const struct statistics_times *times)
{
    json_out_name(out, name);
    json_out_begin(out, '{');
    json_out_member_uint(out, "sum-ns", times->sum_ns);
    json_out_member_uint(out, "first-ns", STATISTICS_FIRST_NS);
    json_out_name(out, "counts");
    json_out_begin(out, '[');
    for (unsigned i = 0; i < STATISTICS_BUCKETS; i++)
        json_out_uint(out, times->bucket[i]);
    json_out_end(out, ']');
    json_out_end(out, '}');
}

void counts_put(const struct device_process *device, struct json_out *out)
{
    struct statistics page;
    if (device->statistics_fd < 0 ||
        pread(device->statistics_fd, &page, sizeof(page), 0) != (ssize_t)sizeof(page) ||
        page.magic != STATISTICS_MAGIC)
        return;
    json_out_member_uint(out, "requests", page.requests);
    json_out_member_uint(out, "bytes-in", page.bytes_in);
    json_out_member_uint(out, "bytes-out", page.bytes_out);
    json_out_member_uint(out, "polls", page.polls);
    json_out_member_uint(out, "wakes", page.wakes);
    json_out_member_uint(out, "reads", page.reads);
    json_out_member_uint(out, "bytes-read", page.bytes_read);
    json_out_member_uint(out, "writes", page.writes);
    json_out_member_uint(out, "bytes-written", page.bytes_written);
    json_out_member_uint(out, "others", page.others);
    put_times(out, "message-times", &page.messages);
    put_times(out, "io-times", &page.io);
}
