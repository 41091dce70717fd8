// SPDX-License-Identifier: BSD-3-Clause
/*
 * The dirty log (src/memory/dirty.h) against a bitmap: 512 pages of guest memory, a byte each.
 *
 * What must hold: what is refused is what the bounds forbid; a report tells each page that was
 * written since it was last told and lies in what is logged, and no other, whatever the page size
 * and wherever in the address space; and a report clears what it tells, and nothing else.
 */
#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "check.h"
#include "memory/dirty.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGE       UINT64_C(4096)
#define PAGES      512u
#define MAX_RANGES 4u

struct run {
    struct rd input;
    struct dirty_log log;
    uint64_t base; /* guest address of the first page */
    bool on;
    unsigned page; /* of the log, in pages of ours */
    bool logged[PAGES];
    bool written[PAGES];
};

static unsigned draw(struct run *run, unsigned below)
{
    return rd_u16(&run->input) % below;
}

static bool overlaps_earlier(const struct dirty_range *ranges, unsigned index)
{
    for (unsigned i = 0; i < index; i++)
        if (ranges[i].start <= ranges[index].start + (ranges[index].len - 1) &&
            ranges[index].start <= ranges[i].start + (ranges[i].len - 1))
            return true;
    return false;
}

static bool is_right(const struct run *run, uint64_t page, const struct dirty_range *ranges,
                     unsigned count)
{
    if (run->on || page < PAGE || page & (page - 1))
        return false;
    for (unsigned i = 0; i < count; i++)
        if (ranges[i].len == 0 || ranges[i].start % page || ranges[i].len % page ||
            overlaps_earlier(ranges, i))
            return false;
    return true;
}

static void start(struct run *run)
{
    struct dirty_range ranges[MAX_RANGES];
    uint64_t page = PAGE << draw(run, 4);
    unsigned count = draw(run, MAX_RANGES + 1);
    if (draw(run, 16) == 0)
        page += draw(run, 3) - 1; /* no power of two, or too small */
    for (unsigned i = 0; i < count; i++) {
        uint64_t first = draw(run, PAGES);
        ranges[i] = (struct dirty_range){.start = run->base + first * PAGE,
                                         .len = draw(run, PAGES - (unsigned)first + 1) * PAGE};
    }
    bool right = is_right(run, page, ranges, count);
    int err = dirty_start(&run->log, page, ranges, count);
    CHECK((err == 0) == right);
    if (err < 0)
        return;
    run->on = true;
    run->page = (unsigned)(page / PAGE);
    memset(run->logged, count == 0, sizeof(run->logged));
    memset(run->written, false, sizeof(run->written));
    for (unsigned i = 0; i < count; i++)
        memset(&run->logged[(ranges[i].start - run->base) / PAGE], true, ranges[i].len / PAGE);
}

static void stop(struct run *run)
{
    dirty_stop(&run->log);
    run->on = false;
}

static void mark(struct run *run)
{
    unsigned first = draw(run, PAGES), into = draw(run, (unsigned)PAGE);
    uint64_t room = (PAGES - first) * PAGE - into;
    uint64_t len = draw(run, 3) ? draw(run, 0x3000) : draw(run, PAGES) * PAGE;
    if (len > room)
        len = room;
    dirty_mark(&run->log, run->base + first * PAGE + into, len);
    if (!run->on || len == 0)
        return;
    unsigned last = first + (unsigned)((into + len - 1) / PAGE);
    for (unsigned i = first / run->page * run->page; i <= (last | (run->page - 1)); i++)
        run->written[i] = true;
}

/* Whether a page of the log was written where it is logged; forgets it. */
static bool take(struct run *run, unsigned first)
{
    bool written = false;
    for (unsigned i = first; i < first + run->page; i++) {
        written |= run->written[i] && run->logged[i];
        run->written[i] = false;
    }
    return written;
}

static void report(struct run *run)
{
    static uint8_t bits[PAGES / 8];
    unsigned page = run->on && draw(run, 8) ? run->page : 1u << draw(run, 4);
    unsigned first = draw(run, PAGES), count = draw(run, PAGES - first + 1);
    if (draw(run, 8)) {
        first = first / page * page;
        count = count / page * page;
    }
    bool right =
        run->on && page == run->page && count > 0 && first % page == 0 && count % page == 0;
    for (unsigned i = first; right && i < first + count; i++)
        right = run->logged[i]; /* two ranges that touch are reported one by one */
    uint64_t at = run->base + first * PAGE;
    int64_t len = dirty_report_len(&run->log, page * PAGE, at, count * PAGE);
    CHECK(right || len == -EINVAL);
    if (len < 0)
        return;
    CHECK(len == (count / page + 63) / 64 * 8 && (size_t)len <= sizeof(bits));
    dirty_report(&run->log, at, count * PAGE, bits);
    for (unsigned i = 0; i < count / page; i++)
        CHECK((bits[i / 8] >> i % 8 & 1) == take(run, first + i * page));
    for (unsigned i = count / page; i < (unsigned)len * 8; i++)
        CHECK(!(bits[i / 8] >> i % 8 & 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* At the start and the end of all addresses, and across the blocks of a log of all memory. */
    static const uint64_t bases[] = {0, UINT64_MAX - PAGES * PAGE + 1,
                                     LIMIT_DIRTY_BLOCK_PAGES * PAGE - PAGES / 2 * PAGE,
                                     UINT64_C(1) << 40};
    static void (*const steps[])(struct run *) = {start, stop, mark,   mark,
                                                  mark,  mark, report, report};
    static struct run run;
    run = (struct run){.input = rd_init(data, size)};
    run.base = bases[rd_u8(&run.input) % 4];
    while (run.input.left > 0 && !run.input.bad)
        steps[rd_u8(&run.input) % 8](&run);
    stop(&run);
    return 0;
}
