// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a client makes of a device's configuration space (src/client/probe.h) and of the memory that
 * its VMM publishes (src/client/regions.h).
 *
 * A device's registers keep the bits that the input says, forget to change, or lie. What must hold:
 * a BAR that is found has a size that is a power of two and fits its kind, and its registers are
 * written back as they were; regions that are merged cover what they covered before, in order, and
 * no two of them could be one.
 */
#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "check.h"
#include "client/probe.h"
#include "client/regions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CONFIG_LEN   256u
#define FIRST_BAR    0x10u
#define BAR_COUNT    7u /* as QEMU's proxy counts them */
#define MEMORY_PAGES 128u
#define MAX_REGIONS  24u
#define PAGE         UINT64_C(4096)

struct run {
    struct rd input;
    uint8_t config[CONFIG_LEN];
    uint32_t keeps[BAR_COUNT]; /* the bits that a BAR's register takes */
    uint32_t first[BAR_COUNT]; /* its value at first */
    bool lies;
    unsigned fails_in; /* accesses; 0: never */
    unsigned accesses;
};

static bool fails(struct run *run)
{
    return ++run->accesses == run->fails_in;
}

static int read_config(void *context, uint32_t offset, unsigned size, uint32_t *ret_value)
{
    struct run *run = context;
    CHECK((size == 1 || size == 2 || size == 4) && offset + size <= CONFIG_LEN);
    if (fails(run))
        return -EIO;
    *ret_value = 0;
    memcpy(ret_value, run->config + offset, size);
    if (run->lies)
        *ret_value ^= rd_u8(&run->input) & ((1u << 4) - 1);
    return 0;
}

static int write_config(void *context, uint32_t offset, unsigned size, uint32_t value)
{
    struct run *run = context;
    uint32_t old;
    CHECK(size == 4 && offset >= FIRST_BAR && offset < FIRST_BAR + 4 * BAR_COUNT);
    if (fails(run))
        return -EIO;
    uint32_t keeps = run->keeps[(offset - FIRST_BAR) / 4];
    memcpy(&old, run->config + offset, sizeof(old));
    value = (value & keeps) | (old & ~keeps);
    memcpy(run->config + offset, &value, sizeof(value));
    return 0;
}

/* Bits that a register keeps: those of a size mostly, else anything. */
static uint32_t draw_bits(struct run *run)
{
    uint8_t how = rd_u8(&run->input);
    return how & 0x80 ? rd_u32(&run->input) : ~((UINT32_C(1) << how % 32) - 1);
}

static void set_up(struct run *run)
{
    uint8_t how = rd_u8(&run->input);
    run->lies = how & 1;
    run->fails_in = how & 2 ? rd_u8(&run->input) : 0;
    run->config[0] = how & 4 ? 0xff : 0xf4;
    run->config[1] = how & 4 ? 0xff : 0x1a;
    rd_bytes(&run->input, run->config + 2, 14);
    for (unsigned i = 0; i < BAR_COUNT; i++) {
        run->keeps[i] = draw_bits(run);
        uint32_t value =
            (draw_bits(run) & run->keeps[i]) | (rd_u8(&run->input) & 0xf & ~run->keeps[i]);
        memcpy(run->config + FIRST_BAR + 4 * i, &value, sizeof(value));
        run->first[i] = value;
    }
    rd_bytes(&run->input, run->config + 0x2c, 0x14);
}

static void check_info(const struct ob_client_info *info)
{
    static const uint64_t longest[] = {[OB_BAR_IO] = 1u << 16, [OB_BAR_MEM32] = UINT64_C(1) << 32};
    CHECK(info->vendor_id != 0xffff);
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        const struct ob_client_bar *bar = &info->bars[i];
        CHECK((bar->kind == OB_BAR_NONE) == (bar->size == 0) && bar->kind <= OB_BAR_MEM64);
        CHECK(!(bar->size & (bar->size - 1)));
        if (bar->kind == OB_BAR_IO || bar->kind == OB_BAR_MEM32)
            CHECK(bar->size <= longest[bar->kind]);
        if (bar->kind == OB_BAR_MEM64)
            CHECK(i + 1 < OB_BAR_COUNT && info->bars[i + 1].kind == OB_BAR_NONE);
    }
}

static void probe(struct run *run)
{
    const struct probe_config config = {.read = read_config, .write = write_config, .context = run};
    struct ob_client_info info = {.vendor_id = 0xffff};
    struct ob_fault fault = {0};
    set_up(run);
    int err = probe_device(&config, &info, &fault);
    CHECK(err <= 0 && run->accesses < 64);
    if (err == 0)
        check_info(&info);
    else
        CHECK(info.vendor_id == 0xffff); /* untouched */
    for (unsigned i = 0; i < BAR_COUNT && !run->lies && run->fails_in == 0; i++)
        CHECK(memcmp(run->config + FIRST_BAR + 4 * i, &run->first[i], 4) == 0);
}

/* Which pages regions cover, and how often; none is there more than once in what is right. */
static unsigned cover(const struct ob_client_region *regions, unsigned count, uint8_t *ret_pages)
{
    unsigned most = 0;
    memset(ret_pages, 0, MEMORY_PAGES);
    for (unsigned i = 0; i < count; i++)
        for (uint64_t page = 0; page < regions[i].len / PAGE; page++) {
            uint8_t *times = &ret_pages[regions[i].gpa / PAGE + page];
            most = ++*times > most ? *times : most;
        }
    return most;
}

static bool could_be_one(const struct ob_client_region *low, const struct ob_client_region *high)
{
    return low->gpa + low->len == high->gpa && low->fd == high->fd &&
           low->offset + low->len == high->offset && low->read_only == high->read_only &&
           !low->memory && !high->memory;
}

static void merge(struct run *run)
{
    struct ob_client_region regions[MAX_REGIONS];
    uint8_t before[MEMORY_PAGES], after[MEMORY_PAGES];
    unsigned count = rd_u8(&run->input) % (MAX_REGIONS + 1);
    bool right = true;
    for (unsigned i = 0; i < count; i++) {
        unsigned page = rd_u8(&run->input) % MEMORY_PAGES, how = rd_u8(&run->input);
        unsigned pages = how % 8 < MEMORY_PAGES - page ? how % 8 : MEMORY_PAGES - page;
        regions[i] = (struct ob_client_region){.gpa = page * PAGE,
                                               .len = pages * PAGE,
                                               .offset = how & 8 ? page * PAGE : 0,
                                               .fd = how & 16 ? 4 : 3,
                                               .read_only = how & 32};
        if (how >= 0xfc)
            regions[i].offset += how == 0xff ? UINT64_MAX - PAGE + 1 : how; /* wraps, or no page */
        right = right && pages > 0 && regions[i].offset % PAGE == 0 &&
                regions[i].offset + regions[i].len >= regions[i].offset;
    }
    right = cover(regions, count, before) <= 1 && right;
    struct ob_fault fault = {0};
    int kept = regions_merge(regions, count, &fault);
    CHECK(right ? kept >= 0 && kept <= (int)count : kept == -EINVAL && fault.code == -EINVAL);
    if (kept < 0)
        return;
    CHECK(cover(regions, (unsigned)kept, after) <= 1 && memcmp(before, after, MEMORY_PAGES) == 0);
    for (int i = 1; i < kept; i++)
        CHECK(regions[i - 1].gpa < regions[i].gpa && !could_be_one(&regions[i - 1], &regions[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    run = (struct run){.input = rd_init(data, size)};
    if (rd_u8(&run.input) & 1)
        probe(&run);
    else
        merge(&run);
    return 0;
}
