// SPDX-License-Identifier: BSD-3-Clause
/*
 * The log of the pages that a vfio-user device writes has two halves: the remote's for pages that it
 * reaches itself, and that of the client's memory for writes by messages.
 *
 * A report first moves the remote's half into ours, so that a call that fails loses nothing. The
 * remote is asked region by region: libvfio-user keeps its log so, answers for whole regions only,
 * and has no log at all for those that it reaches by messages alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "remote/vfio_user.h"

#define RANGE_LEN  16u
#define REPORT_LEN 24u

static struct dirty_log *log_of(struct ob_client *client)
{
    return &client->remote->memory.dirty;
}

/* Starts the client's half of the log. */
static int log_here(struct ob_client *client, uint64_t page_size,
                    const struct ob_client_range *ranges, unsigned count)
{
    struct dirty_range here[LIMIT_DIRTY_RANGES];
    if (count > LIMIT_DIRTY_RANGES)
        return -E2BIG;
    for (unsigned i = 0; i < count; i++)
        here[i] = (struct dirty_range){.start = ranges[i].gpa, .len = ranges[i].len};
    return dirty_start(log_of(client), page_size, here, count);
}

int ob_client_log_start(struct ob_client *client, uint64_t page_size,
                        const struct ob_client_range *ranges, unsigned count)
{
    uint8_t data[16 + LIMIT_DIRTY_RANGES * RANGE_LEN];
    int err = ranges || count == 0 ? vfio_user_meet(client) : -EINVAL;
    if (err == 0)
        err = log_here(client, page_size, ranges, count);
    if (err < 0)
        return err;
    struct wr wr = wr_init(data, sizeof(data));
    wr_u64(&wr, page_size);
    wr_u32(&wr, count);
    wr_u32(&wr, 0);
    for (unsigned i = 0; i < count; i++) {
        wr_u64(&wr, ranges[i].gpa);
        wr_u64(&wr, ranges[i].len);
    }
    uint8_t echo[sizeof(data)];
    struct client_reply reply = {.data = echo, .data_len = sizeof(echo)};
    err = vfio_user_ask_feature(client, VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_LOGGING_START,
                                data, wr.len, &reply);
    if (err < 0)
        dirty_stop(log_of(client));
    return err;
}

int ob_client_log_stop(struct ob_client *client)
{
    struct client_reply reply = {0};
    int err = vfio_user_meet(client);
    if (err < 0)
        return err;
    dirty_stop(log_of(client));
    return vfio_user_ask_feature(client, VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_LOGGING_STOP,
                                 NULL, 0, &reply);
}

/* Asks which whole pages the remote has written, and notes them here. */
static int fetch_pages(struct ob_client *client, uint64_t start, uint64_t len)
{
    const uint64_t page = log_of(client)->page;
    const size_t bits_len = (size_t)((len / page + 63) / 64 * 8);
    uint8_t question[REPORT_LEN];
    AUTO_FREE uint8_t *answer = malloc(REPORT_LEN + bits_len);
    if (!answer)
        return -ENOMEM;
    struct wr wr = wr_init(question, sizeof(question));
    wr_u64(&wr, start);
    wr_u64(&wr, len);
    wr_u64(&wr, page);
    int err = vfio_user_get_feature(client, VFIO_USER_FEATURE_LOGGING_REPORT, question,
                                    sizeof(question), answer, REPORT_LEN + bits_len);
    if (err == -ETIMEDOUT) /* the remote may have told, to nobody */
        dirty_mark(log_of(client), start, len);
    const uint8_t *bits = answer + REPORT_LEN;
    for (uint64_t i = 0; i < len / page && err == 0; i++)
        if (bits[i / 8] >> i % 8 & 1)
            dirty_mark(log_of(client), start + i * page, page);
    return err;
}

/* Fetches the log between two addresses, both inclusive: whole pages of a range. */
static int fetch_range(struct ob_client *client, uint64_t first, uint64_t last)
{
    const uint64_t page = log_of(client)->page;
    const uint64_t room = client->engine.capabilities.max_data_xfer_size;
    const uint64_t most = room > REPORT_LEN ? (room - REPORT_LEN) / 8 * 64 : 0;
    uint64_t pages = (last - first) / page + 1;
    int err = most > 0 ? 0 : -E2BIG;
    while (pages > 0 && err == 0) {
        uint64_t piece = pages < most ? pages : most;
        err = fetch_pages(client, first, piece * page);
        first += piece * page;
        pages -= piece;
    }
    return err;
}

/* Fetches the log of [first, last], in whole pages of the log. */
static int fetch_whole_pages(struct ob_client *client, uint64_t first, uint64_t last)
{
    const uint64_t inside = log_of(client)->page - 1;
    return fetch_range(client, first & ~inside, last | inside);
}

/* Fetches the log of a region: all of it, or the part in the log's ranges. */
static int fetch_region(struct ob_client *client, const struct ob_dma_region *region)
{
    const uint64_t gpa = region->gpa, last = gpa + (region->len - 1);
    const struct dirty_log *log = log_of(client);
    int err = log->all ? fetch_whole_pages(client, gpa, last) : 0;
    for (unsigned i = 0; i < log->count && err == 0; i++) {
        const struct dirty_range *range = &log->ranges[i];
        const uint64_t range_last = range->start + (range->len - 1);
        if (gpa <= range_last && range->start <= last)
            err = fetch_whole_pages(client, gpa > range->start ? gpa : range->start,
                                    last < range_last ? last : range_last);
    }
    return err;
}

int vfio_user_fetch_log(struct ob_client *client, uint64_t start, uint64_t len)
{
    const uint64_t last = start + (len - 1);
    const struct ob_dma_region *region;
    uint64_t at = start;
    int err = 0;
    if (log_of(client)->page == 0)
        return 0;
    while (err == 0 && (region = memory_next(&client->remote->memory, at)) && region->gpa <= last) {
        const uint64_t region_last = region->gpa + (region->len - 1);
        if (!region->borrowed && region->writable)
            err = fetch_region(client, region);
        if (region_last >= last)
            break;
        at = region_last + 1;
    }
    return err;
}

int ob_client_log_report(struct ob_client *client, uint64_t page_size,
                         const struct ob_client_range *range, uint8_t *ret_bits)
{
    int err = range && ret_bits ? vfio_user_meet(client) : -EINVAL;
    if (err < 0)
        return err;
    if (dirty_report_len(log_of(client), page_size, range->gpa, range->len) < 0)
        return -EINVAL;
    err = vfio_user_fetch_log(client, range->gpa, range->len);
    if (err == 0)
        dirty_report(log_of(client), range->gpa, range->len, ret_bits);
    return err;
}
