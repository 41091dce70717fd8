// SPDX-License-Identifier: BSD-3-Clause
/*
 * Guest memory of a vfio-user remote: DMA_MAP and DMA_UNMAP, the remote's own DMA by messages, and
 * the log of its writes.
 *
 * All that is mapped is kept in a struct memory, where the remote's messages find it. A region
 * joins it before the remote is told, and leaves it after the remote has given it back, so the
 * remote is never refused memory that it may ask for.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "os/shared_memory.h"
#include "os/socket.h"
#include "remote/vfio_user.h"

static int map_file(void *context, int fd, uint64_t offset, uint64_t len, bool writable,
                    uint8_t **ret_address, struct memory_file *ret_file, struct ob_fault *fault)
{
    return shared_memory_map(fd, offset, len, writable, ret_address, &ret_file->device,
                             &ret_file->inode);
}

static void unmap_file(void *context, uint8_t *address, uint64_t len)
{
    shared_memory_unmap(address);
}

struct memory_host vfio_user_memory_host(void)
{
    return (struct memory_host){.map = map_file, .unmap = unmap_file};
}

int vfio_user_memory_read(void *context, uint64_t iova, void *ret_buf, size_t len)
{
    struct vfio_user_remote *remote = context;
    /* First, so that a range that ends outside costs the remote more than it costs here. */
    int err = memory_check(&remote->memory, iova, len, false);
    return err < 0 ? err : memory_read(&remote->memory, iova, ret_buf, len);
}

int vfio_user_memory_write(void *context, uint64_t iova, const void *buf, size_t len)
{
    struct vfio_user_remote *remote = context;
    return memory_write(&remote->memory, iova, buf, len);
}

/* Whether a region can be said to this remote. */
static int check_region(const struct ob_client *client, const struct ob_client_region *region,
                        struct ob_fault *fault)
{
    const uint64_t pgsizes = client->engine.capabilities.pgsizes;
    const uint64_t smallest = pgsizes & -pgsizes;
    if (!region->memory && !descriptor_is_open(region->fd))
        return ob_fault_set(fault, -EBADF, "descriptor %d of a memory region is not open",
                            region->fd);
    if ((region->gpa | region->len) & (smallest - 1))
        return ob_fault_set(fault, -EINVAL,
                            "the memory region at 0x%" PRIx64 " of 0x%" PRIx64
                            " bytes: expected whole pages of the remote, 0x%" PRIx64 " bytes",
                            region->gpa, region->len, smallest);
    return 0;
}

static int tell_of_region(struct ob_client *client, const struct ob_client_region *region)
{
    uint8_t head[VFIO_USER_DMA_MAP_LEN];
    const struct vfio_user_dma_map map = {
        .argsz = sizeof(head),
        .flags = VFIO_DMA_MAP_FLAG_READ | (region->read_only ? 0 : VFIO_DMA_MAP_FLAG_WRITE),
        .offset = region->memory ? 0 : region->offset,
        .iova = region->gpa,
        .size = region->len,
    };
    vfio_user_dma_map_put(head, sizeof(head), &map);
    const struct vfio_user_question question = {
        .message = {.command = VFIO_USER_DMA_MAP, .head = head, .head_len = sizeof(head)},
        .fds = &region->fd,
        .num_fds = region->memory ? 0 : 1,
    };
    return vfio_user_ask(client, &question, NULL);
}

static void forget_region(struct ob_client *client, uint64_t gpa, uint64_t len)
{
    struct memory *memory = &client->remote->memory;
    struct ob_dma_region *region;
    if (memory_remove(memory, gpa, len, &region) >= 0)
        memory_drop(memory, region);
}

static int keep_region(struct ob_client *client, const struct ob_client_region *region,
                       struct ob_fault *fault)
{
    const struct memory_region_desc desc = {
        .gpa = region->gpa,
        .len = region->len,
        .offset = region->memory ? 0 : region->offset,
        .fd = region->memory ? -1 : region->fd,
        .address = region->memory,
        .writable = !region->read_only,
    };
    int err =
        memory_add(&client->remote->memory, &desc, client->engine.capabilities.max_dma_maps, NULL);
    return err < 0 ? ob_fault_set(fault, err,
                                  "the memory region at 0x%" PRIx64 " of 0x%" PRIx64
                                  " bytes can't be mapped: %s",
                                  region->gpa, region->len, strerror(-err))
                   : 0;
}

int ob_client_map_memory(struct ob_client *client, const struct ob_client_region *region,
                         struct ob_fault *fault)
{
    int err = region ? vfio_user_meet(client) : -EINVAL;
    if (err == 0)
        err = check_region(client, region, fault);
    if (err == 0)
        err = keep_region(client, region, fault);
    if (err < 0)
        return err;
    err = tell_of_region(client, region);
    if (err < 0 && err != -ETIMEDOUT)
        forget_region(client, region->gpa, region->len);
    if (err == -EREMOTEIO)
        ob_fault_set(fault, err, "the remote refuses the memory region at 0x%" PRIx64 ": %s",
                     region->gpa, strerror(-client->refusal));
    return err;
}

int ob_client_unmap_memory(struct ob_client *client, uint64_t gpa, uint64_t len)
{
    uint8_t head[VFIO_USER_DMA_UNMAP_LEN], answer[VFIO_USER_DMA_UNMAP_LEN];
    const struct vfio_user_dma_unmap unmap = {.argsz = sizeof(head), .iova = gpa, .size = len};
    vfio_user_dma_unmap_put(head, sizeof(head), &unmap);
    const struct vfio_user_question question = {
        .message = {.command = VFIO_USER_DMA_UNMAP, .head = head, .head_len = sizeof(head)}};
    struct client_reply reply = {.head = answer, .head_len = sizeof(answer)};
    int err = vfio_user_meet(client);
    if (err == 0 && !memory_has(&client->remote->memory, gpa, len))
        err = -ENOENT;
    if (err == 0)
        err = vfio_user_ask(client, &question, &reply);
    if (err == -EREMOTEIO && client->refusal == -ENOENT)
        err = 0; /* it never took the region, but said so too late */
    if (err < 0)
        return err;
    if (vfio_user_fetch_log(client, gpa, len) < 0) /* it may have forgotten its log */
        dirty_mark(&client->remote->memory.dirty, gpa, len);
    forget_region(client, gpa, len);
    return 0;
}

static int identify(const struct ob_client_region *region, struct published *ret_published)
{
    struct stat status = {0};
    if (!region->memory && fstat(region->fd, &status) < 0)
        return -errno;
    *ret_published =
        (struct published){.region = *region, .device = status.st_dev, .inode = status.st_ino};
    return 0;
}

static bool same(const struct published *a, const struct published *b)
{
    return a->region.gpa == b->region.gpa && a->region.len == b->region.len &&
           a->region.offset == b->region.offset && a->region.memory == b->region.memory &&
           a->region.read_only == b->region.read_only && a->device == b->device &&
           a->inode == b->inode;
}

static bool is_among(const struct published *one, const struct published *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (same(one, &list[i]))
            return true;
    return false;
}

/* Unmaps regions that were published and are not wanted any more. */
static int retract(struct ob_client *client, const struct published *wanted, unsigned count,
                   struct ob_fault *fault)
{
    struct vfio_user_remote *remote = client->remote;
    for (unsigned i = 0; i < remote->num_published;) {
        const struct ob_client_region *region = &remote->published[i].region;
        if (is_among(&remote->published[i], wanted, count)) {
            i++;
            continue;
        }
        int err = ob_client_unmap_memory(client, region->gpa, region->len);
        if (err < 0)
            return ob_fault_set(fault, err,
                                "the memory region at 0x%" PRIx64 " can't be unmapped: %s",
                                region->gpa, strerror(-err));
        remote->published[i] = remote->published[--remote->num_published];
    }
    return 0;
}

int vfio_user_publish_memory(struct ob_client *client, const struct ob_client_region *regions,
                             unsigned count, struct ob_fault *fault)
{
    struct vfio_user_remote *remote = client->remote;
    struct published wanted[LIMIT_CLIENT_REGIONS] = {0};
    int err = vfio_user_meet(client);
    for (unsigned i = 0; i < count && err == 0; i++)
        err = identify(&regions[i], &wanted[i]);
    if (err == 0)
        err = retract(client, wanted, count, fault);
    for (unsigned i = 0; i < count && err == 0; i++) {
        if (is_among(&wanted[i], remote->published, remote->num_published))
            continue;
        err = ob_client_map_memory(client, &regions[i], fault);
        if (err == 0 || err == -ETIMEDOUT) /* then the remote may yet have it */
            remote->published[remote->num_published++] = wanted[i];
    }
    if (err < 0 && client->fault.code) /* the remote is lost, and not on account of its memory */
        return ob_fault_set(fault, err, "%s", client->fault.text);
    return err < 0 ? ob_fault_set(fault, err, "the memory can't be published: %s", strerror(-err))
                   : 0;
}
