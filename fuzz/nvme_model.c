// SPDX-License-Identifier: BSD-3-Clause
#include "nvme_model.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

#define FILL 0x5a /* as an address: misaligned, and where no memory is */

void model_init(struct model *model, int *ret_fd)
{
    static int fd = -1;
    static uint8_t *memory;
    if (fd < 0) {
        fd = memfd_create("guest", MFD_CLOEXEC);
        CHECK(fd >= 0 && ftruncate(fd, MODEL_LEN) == 0);
        memory = mmap(NULL, MODEL_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(memory != MAP_FAILED);
    }
    memset(model, 0, sizeof(*model));
    memset(memory, FILL, MODEL_LEN);
    memset(model->before, FILL, MODEL_LEN);
    model->memory = memory;
    *ret_fd = fd;
}

void model_write(struct model *model, uint64_t address, const void *data, uint64_t len)
{
    CHECK(address <= MODEL_LEN && len <= MODEL_LEN - address);
    memcpy(model->memory + address, data, len);
    memcpy(model->before + address, data, len);
}

static void mark(bool *map, uint64_t address, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        if (address + i < MODEL_LEN)
            map[address + i] = true;
}

void model_allow_queue(struct model *model, uint64_t base, uint64_t len)
{
    mark(model->is_queue, base, len);
}

static bool read_entry(const struct model *model, uint64_t address, uint64_t *ret_entry)
{
    if (address > MODEL_LEN - sizeof(*ret_entry))
        return false;
    memcpy(ret_entry, model->memory + address, sizeof(*ret_entry));
    return true;
}

/* Section 4.3 of the specification, entry by entry. */
static void allow_list(struct model *model, uint64_t list, uint64_t left)
{
    uint64_t entry;
    while (left > 0 && read_entry(model, list, &entry)) {
        bool last_of_page = list % MODEL_PAGE == MODEL_PAGE - sizeof(entry);
        if (last_of_page && left > MODEL_PAGE) {
            if (entry % MODEL_PAGE)
                return;
            list = entry;
            continue;
        }
        uint64_t len = left < MODEL_PAGE ? left : MODEL_PAGE;
        mark(model->allowed, entry, len);
        left -= len;
        list += sizeof(entry);
    }
}

/* A guest that has data put into its own completion queues can't tell what it reads there. */
static void look_for_queues(struct model *model)
{
    for (unsigned i = 0; i < MODEL_LEN && !model->lost_sight; i++)
        model->lost_sight = model->allowed[i] && model->is_queue[i];
}

void model_allow_data(struct model *model, uint64_t prp1, uint64_t prp2, uint64_t len)
{
    uint64_t first = MODEL_PAGE - prp1 % MODEL_PAGE;
    if (first > len)
        first = len;
    mark(model->allowed, prp1, first);
    len -= first;
    if (len > MODEL_PAGE)
        allow_list(model, prp2, len);
    else
        mark(model->allowed, prp2, len);
    look_for_queues(model);
}

void model_settle(struct model *model)
{
    memset(model->allowed, 0, sizeof(model->allowed));
}

static bool is_guard(uint64_t page)
{
    return page >= MODEL_GUARD && page < MODEL_GUARD + MODEL_GUARDS;
}

void model_check(struct model *model)
{
    for (uint64_t page = 0; page < MODEL_PAGES; page++) {
        uint64_t at = page * MODEL_PAGE;
        if (memcmp(model->memory + at, model->before + at, MODEL_PAGE) == 0)
            continue;
        CHECK(!is_guard(page));
        for (uint64_t i = at; i < at + MODEL_PAGE; i++)
            CHECK(model->memory[i] == model->before[i] || model->lost_sight || model->allowed[i] ||
                  model->is_queue[i]);
        memcpy(model->before + at, model->memory + at, MODEL_PAGE);
    }
}
