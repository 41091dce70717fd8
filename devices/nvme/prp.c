// SPDX-License-Identifier: BSD-3-Clause
#include "prp.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

#include "bytes.h"
#include "nvme.h"

#define ENTRY_LEN 8u

/* The work on the data, one contiguous range of guest addresses after the other. Returns
 * an enum nvme_status. */
struct sink {
    uint16_t (*take)(struct sink *sink, uint64_t iova, uint32_t len);
    struct nvme *nvme;
};

/* The range that grows as long as pages follow each other. */
struct walk {
    struct sink *sink;
    uint64_t iova;
    uint32_t len;
    uint32_t left; /* of the data, behind the range */
};

static uint16_t flush(struct walk *walk)
{
    if (walk->len == 0)
        return NVME_SUCCESS;
    uint16_t status = walk->sink->take(walk->sink, walk->iova, walk->len);
    walk->len = 0;
    return status;
}

static uint16_t add(struct walk *walk, uint64_t iova)
{
    uint32_t room = NVME_PAGE - (uint32_t)(iova % NVME_PAGE);
    uint32_t len = walk->left < room ? walk->left : room;
    uint16_t status = NVME_SUCCESS;
    if (walk->len > 0 && walk->iova + walk->len == iova) {
        walk->len += len;
    } else {
        status = flush(walk);
        walk->iova = iova;
        walk->len = len;
    }
    walk->left -= len;
    return status;
}

static uint16_t add_page(struct walk *walk, uint64_t iova)
{
    return iova % NVME_PAGE ? NVME_PRP_OFFSET_INVALID | NVME_DO_NOT_RETRY : add(walk, iova);
}

/* Takes the entries of one list page. *ret_next is the address of the next one when data is left.
 */
static uint16_t add_list_page(struct walk *walk, uint64_t list, uint64_t *ret_next)
{
    uint8_t entries[(NVME_TRANSFER_PAGES + 1) * ENTRY_LEN];
    uint32_t pages = (walk->left + NVME_PAGE - 1) / NVME_PAGE;
    uint32_t room = (NVME_PAGE - (uint32_t)(list % NVME_PAGE)) / ENTRY_LEN;
    bool goes_on = pages > room;
    uint32_t count = goes_on ? room : pages;
    assert((size_t)count * ENTRY_LEN <= sizeof(entries));
    if (ob_dma_read(walk->sink->nvme->device, list, entries, (size_t)count * ENTRY_LEN) < 0)
        return NVME_DATA_TRANSFER_ERROR;
    uint32_t data = goes_on ? count - 1 : count;
    uint16_t status = NVME_SUCCESS;
    for (uint32_t i = 0; i < data && status == NVME_SUCCESS; i++)
        status = add_page(walk, get64(entries + (size_t)i * ENTRY_LEN));
    if (goes_on)
        *ret_next = get64(entries + (size_t)data * ENTRY_LEN);
    return status;
}

static uint16_t add_list(struct walk *walk, uint64_t list)
{
    uint16_t status = NVME_SUCCESS;
    if (list % ENTRY_LEN)
        return NVME_PRP_OFFSET_INVALID | NVME_DO_NOT_RETRY;
    while (status == NVME_SUCCESS && walk->left > 0) {
        status = add_list_page(walk, list, &list);
        /* Only the first list page may start within a page, or a guest could have us read lists of
         * nothing but the address of the next. */
        if (status == NVME_SUCCESS && walk->left > 0 && list % NVME_PAGE)
            return NVME_PRP_OFFSET_INVALID | NVME_DO_NOT_RETRY;
    }
    return status;
}

static uint16_t walk_prps(struct sink *sink, const struct nvme_command *command, uint32_t len)
{
    struct walk walk = {.sink = sink, .left = len};
    assert(len > 0 && len <= NVME_TRANSFER_LEN);
    if (command->prp1 % 4)
        return NVME_PRP_OFFSET_INVALID | NVME_DO_NOT_RETRY;
    uint16_t status = add(&walk, command->prp1);
    if (status == NVME_SUCCESS && walk.left > NVME_PAGE)
        status = add_list(&walk, command->prp2);
    else if (status == NVME_SUCCESS && walk.left > 0)
        status = add_page(&walk, command->prp2);
    return status == NVME_SUCCESS ? flush(&walk) : status;
}

struct map_sink {
    struct sink sink;
    struct nvme_transfer *transfer;
    enum ob_dma_direction direction;
};

static uint16_t map(struct sink *sink, uint64_t iova, uint32_t len)
{
    struct map_sink *map_sink = (struct map_sink *)sink;
    struct nvme_transfer *transfer = map_sink->transfer;
    int count =
        ob_dma_map(sink->nvme->device, iova, len, map_sink->direction,
                   transfer->spans + transfer->span_count, NVME_SPANS - transfer->span_count);
    if (count < 0)
        return count == -E2BIG ? NVME_INTERNAL_ERROR : NVME_DATA_TRANSFER_ERROR;
    transfer->span_count += (unsigned)count;
    return NVME_SUCCESS;
}

uint16_t prp_map(struct nvme *nvme, const struct nvme_command *command, uint32_t len,
                 enum ob_dma_direction direction, struct nvme_transfer *transfer)
{
    struct map_sink sink = {.sink = {map, nvme}, .transfer = transfer, .direction = direction};
    transfer->span_count = 0;
    uint16_t status = walk_prps(&sink.sink, command, len);
    if (status != NVME_SUCCESS) {
        prp_unmap(nvme, transfer);
        return status;
    }
    for (unsigned i = 0; i < transfer->span_count; i++)
        transfer->iov[i] = (struct iovec){.iov_base = transfer->spans[i].address,
                                          .iov_len = transfer->spans[i].len};
    return NVME_SUCCESS;
}

void prp_unmap(struct nvme *nvme, struct nvme_transfer *transfer)
{
    ob_dma_unmap(nvme->device, transfer->spans, transfer->span_count);
    transfer->span_count = 0;
}

struct copy_sink {
    struct sink sink;
    uint8_t *buf;
    bool to_guest;
};

static uint16_t copy(struct sink *sink, uint64_t iova, uint32_t len)
{
    struct copy_sink *copy_sink = (struct copy_sink *)sink;
    struct ob_device *device = sink->nvme->device;
    int err = copy_sink->to_guest ? ob_dma_write(device, iova, copy_sink->buf, len)
                                  : ob_dma_read(device, iova, copy_sink->buf, len);
    copy_sink->buf += len;
    return err < 0 ? NVME_DATA_TRANSFER_ERROR : NVME_SUCCESS;
}

uint16_t prp_read(struct nvme *nvme, const struct nvme_command *command, void *ret_buf,
                  uint32_t len)
{
    struct copy_sink sink = {.sink = {copy, nvme}, .buf = ret_buf};
    return walk_prps(&sink.sink, command, len);
}

uint16_t prp_write(struct nvme *nvme, const struct nvme_command *command, const void *buf,
                   uint32_t len)
{
    /* Nothing is written through buf: to_guest says so. */
    struct copy_sink sink = {.sink = {copy, nvme}, .buf = (uint8_t *)buf, .to_guest = true};
    return walk_prps(&sink.sink, command, len);
}
