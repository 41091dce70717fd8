// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guest's IOMMU: IOTLB messages, if the driver has accepted ACCESS_PLATFORM.
 *
 * The device's memory then has the known translations: each UPDATE is a region of its own, by IOVA,
 * within a region of the table. Where an address has no translation, the device stands still, and the front end is
 * asked on the back-end channel (MISS). It answers by an UPDATE here, or not at all: no answer is
 * promised. A miss that has waited for LIMIT_VHOST_USER_MISS_MS, or was answered without the access
 * that is wanted, is denied, and the device fails there as on memory that does not exist.
 *
 * The answer to an INVALIDATE promises that the range is not accessed any more. It waits until the
 * device has given back its spans there.
 *
 * A translation that may be written may also be read.
 */
#include <errno.h>
#include <inttypes.h>

#include "server/vhost_user/vhost_user.h"

static struct memory *view(struct vhost_user_server *server)
{
    return device_memory(server->engine.device);
}

static uint64_t now_ms(const struct vhost_user_server *server)
{
    const struct server_host *host = device_host(server->engine.device);
    return host->now_ms(host->context);
}

void vhost_user_iotlb_clear(struct vhost_user_server *server)
{
    for (unsigned i = 0; i < LIMIT_VHOST_USER_MISSES; i++)
        server->iotlb.misses[i] = (struct vhost_user_miss){0};
}

/* The last byte of a range; one that wraps ends with the address space. */
static uint64_t last_of(uint64_t start, uint64_t len)
{
    return start + (len - 1) < start ? UINT64_MAX : start + (len - 1);
}

static bool access_ok(struct vhost_user_server *server, uint64_t iova, bool write)
{
    return memory_check(view(server), iova, 1, write) == 0;
}

/* Misses of a range are over: the access is possible now, or denied. */
static void settle(struct vhost_user_server *server, uint64_t start, uint64_t last)
{
    for (unsigned i = 0; i < LIMIT_VHOST_USER_MISSES; i++) {
        struct vhost_user_miss *miss = &server->iotlb.misses[i];
        if (!miss->used || miss->iova < start || miss->iova > last)
            continue;
        miss->denied = !access_ok(server, miss->iova, miss->write);
        miss->used = miss->denied;
    }
}

/* Nothing is known of a range any more. */
static void forget(struct vhost_user_server *server, uint64_t start, uint64_t last)
{
    for (unsigned i = 0; i < LIMIT_VHOST_USER_MISSES; i++) {
        struct vhost_user_miss *miss = &server->iotlb.misses[i];
        if (miss->denied && miss->iova >= start && miss->iova <= last)
            *miss = (struct vhost_user_miss){0};
    }
}

/* Makes room for one more translation. Translations in use stay, and count. */
static int make_room(struct vhost_user_server *server)
{
    struct memory *memory = view(server);
    if (memory->count < LIMIT_VHOST_USER_IOTLB)
        return 0;
    return vhost_user_hide(server, 0, UINT64_MAX);
}

static int update(struct vhost_user_message *message, const struct vhost_user_iotlb *iotlb)
{
    struct vhost_user_server *server = message->server;
    uint64_t offset, left;
    struct ob_dma_region *region =
        vhost_user_find_user(server, iotlb->user_address, &offset, &left);
    if (!region || iotlb->size > left ||
        last_of(iotlb->iova, iotlb->size) - iotlb->iova != iotlb->size - 1)
        return vhost_user_refuse(message, -EFAULT,
                                 "got 0x%" PRIx64 " bytes at the user address "
                                 "0x%" PRIx64 ", which no memory region has",
                                 iotlb->size, iotlb->user_address);
    int err = vhost_user_hide(server, iotlb->iova, iotlb->size);
    if (err == 0)
        err = make_room(server);
    if (err != 0)
        return err;
    const struct memory_region_desc desc = {.gpa = iotlb->iova,
                                            .len = iotlb->size,
                                            .offset = offset,
                                            .fd = -1,
                                            .within = region,
                                            .writable = iotlb->perm & VHOST_USER_IOTLB_WRITE};
    err = memory_add(view(server), &desc, LIMIT_VHOST_USER_IOTLB, &message->fault);
    if (err < 0)
        return err;
    settle(server, iotlb->iova, last_of(iotlb->iova, iotlb->size));
    return 0;
}

/* Everything, if the range is longer than any. */
static int invalidate(struct vhost_user_server *server, const struct vhost_user_iotlb *iotlb)
{
    uint64_t last = last_of(iotlb->iova, iotlb->size);
    int err = vhost_user_hide(server, iotlb->iova, last - iotlb->iova + (last < UINT64_MAX));
    if (err == 0)
        forget(server, iotlb->iova, last);
    return err;
}

static int carry_out(struct vhost_user_message *message, const struct vhost_user_iotlb *iotlb)
{
    struct vhost_user_server *server = message->server;
    if (!server->iotlb.on)
        return vhost_user_refuse(message, -EINVAL, "the driver has not accepted ACCESS_PLATFORM");
    if (iotlb->size == 0)
        return vhost_user_refuse(message, -EINVAL, "got a range of 0 bytes");
    switch (iotlb->type) {
    case VHOST_USER_IOTLB_UPDATE:
        return update(message, iotlb);
    case VHOST_USER_IOTLB_INVALIDATE:
        return invalidate(server, iotlb);
    case VHOST_USER_IOTLB_ACCESS_FAIL:
        settle(server, iotlb->iova, last_of(iotlb->iova, iotlb->size));
        return 0;
    default:
        return vhost_user_refuse(message, -EINVAL, "got type %u, expected 2, 3 or 4", iotlb->type);
    }
}

int vhost_user_iotlb_msg(struct vhost_user_message *message)
{
    struct vhost_user_iotlb iotlb = {0};
    vhost_user_iotlb_get(message->payload, message->len, &iotlb);
    int err = carry_out(message, &iotlb);
    if (err == ENGINE_LATER)
        return err;
    if (err < 0) /* the front end is told by a number */
        ob_device_warn(message->device, "refused IOTLB_MSG: %s", message->fault.text);
    virtio_retry(message->device);
    wr_u64(&message->reply, err < 0 ? 1 : 0);
    return 0;
}

static struct vhost_user_miss *find_miss(struct vhost_user_server *server, uint64_t iova,
                                         bool write)
{
    for (unsigned i = 0; i < LIMIT_VHOST_USER_MISSES; i++) {
        struct vhost_user_miss *miss = &server->iotlb.misses[i];
        if (miss->used && miss->iova == iova && miss->write == write)
            return miss;
    }
    return NULL;
}

/* A free one, or the place of one that was denied. */
static struct vhost_user_miss *find_room(struct vhost_user_server *server)
{
    struct vhost_user_miss *room = NULL;
    for (unsigned i = 0; i < LIMIT_VHOST_USER_MISSES; i++) {
        struct vhost_user_miss *miss = &server->iotlb.misses[i];
        if (!miss->used)
            return miss;
        if (miss->denied)
            room = miss;
    }
    return room;
}

/* Asks for one page. False: it is denied, or can't be asked for. */
static bool ask(struct vhost_user_server *server, uint64_t iova, bool write)
{
    const struct server_host *host = device_host(server->engine.device);
    struct vhost_user_miss *miss = find_miss(server, iova, write);
    if (miss)
        return !miss->denied;
    miss = find_room(server);
    if (!miss)
        return true; /* when another has been answered */
    uint8_t payload[VHOST_USER_IOTLB_LEN];
    const struct vhost_user_iotlb iotlb = {
        .iova = iova,
        .perm = write ? VHOST_USER_IOTLB_READ | VHOST_USER_IOTLB_WRITE : VHOST_USER_IOTLB_READ,
        .type = VHOST_USER_IOTLB_MISS};
    vhost_user_iotlb_put(payload, sizeof(payload), &iotlb);
    if (!vhost_user_ask(server, VHOST_USER_BACKEND_IOTLB_MSG, payload, sizeof(payload)))
        return false;
    *miss = (struct vhost_user_miss){
        .used = true, .write = write, .iova = iova, .since_ms = now_ms(server)};
    host->look_again(host->context, LIMIT_VHOST_USER_MISS_MS);
    return true;
}

/* The first page from one on that the device can't access so; false: it can access all up to the last. */
static bool find_absent(struct vhost_user_server *server, uint64_t *page, uint64_t last, bool write)
{
    const struct ob_dma_region *region;
    while ((region = memory_find(view(server), *page)) && (region->writable || !write)) {
        const uint64_t left = region->len - (*page - region->gpa);
        if (left > last - *page)
            return false;
        *page += left;
    }
    return true;
}

bool vhost_user_miss(void *context, uint64_t iova, uint64_t len, bool write)
{
    struct vhost_user_server *server = context;
    if (!server->iotlb.on || len == 0 || last_of(iova, len) - iova != len - 1)
        return false;
    const uint64_t last = last_of(iova, len);
    uint64_t page = iova & ~(uint64_t)(MEMORY_PAGE - 1);
    for (unsigned i = 0; i < LIMIT_VHOST_USER_MISSES; i++) {
        if (!find_absent(server, &page, last, write))
            return true;
        if (!ask(server, page, write))
            return false;
        if (last - page < MEMORY_PAGE)
            return true;
        page += MEMORY_PAGE;
    }
    return true;
}

bool vhost_user_iotlb_look(struct vhost_user_server *server)
{
    bool denied = false;
    for (unsigned i = 0; server->iotlb.on && i < LIMIT_VHOST_USER_MISSES; i++) {
        struct vhost_user_miss *miss = &server->iotlb.misses[i];
        if (!miss->used || miss->denied ||
            now_ms(server) - miss->since_ms < LIMIT_VHOST_USER_MISS_MS)
            continue;
        ob_device_warn(server->engine.device,
                       "the VMM did not translate 0x%" PRIx64 " within %u ms", miss->iova,
                       LIMIT_VHOST_USER_MISS_MS);
        miss->denied = denied = true;
    }
    if (denied)
        virtio_retry(server->engine.device);
    return denied;
}
