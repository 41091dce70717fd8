// SPDX-License-Identifier: BSD-3-Clause
/*
 * DMA_MAP and DMA_UNMAP: which guest memory there is.
 *
 * A reply to DMA_UNMAP promises that the memory is not touched any more. As long as the device
 * holds spans on it, the command therefore waits, and the client's later commands with it.
 */
#include <errno.h>
#include <linux/vfio.h>

#include "base/fault_point.h"
#include "device/device_vault.h"
#include "server/vfio_user/vfio_user.h"

int vfio_user_dma_map(struct vfio_user_request *request)
{
    struct vfio_user_dma_map map = {0};
    vfio_user_dma_map_get(request->payload, request->len, &map);
    const uint32_t known = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    if (map.argsz < VFIO_USER_DMA_MAP_LEN || !(map.flags & known) || map.flags & ~known)
        return -EINVAL;
    const struct memory_region_desc desc = {
        .gpa = map.iova,
        .len = map.size,
        .offset = map.offset,
        .fd = request->fds->count > 0 ? request->fds->fd[0] : -1,
        .writable = map.flags & VFIO_DMA_MAP_FLAG_WRITE,
    };
    struct ob_fault fault = {0};
    int err = memory_add(device_memory(request->device), &desc,
                         request->server->capabilities.max_dma_maps, &fault);
    if (err == 0 && device_vault(request->device)) {
        device_keep_memory(request->device, VAULT_MEMORY, &desc);
        if (desc.fd >= 0)
            request->fds->fd[0] = -1;
        fault_point("dma-map");
    }
    if (fault.code) /* the client is told by a number */
        ob_device_warn(request->device, "DMA_MAP: %s", fault.text);
    return err;
}

/* Answers with the request; section "VFIO_USER_DMA_UNMAP". */
static int echo(struct vfio_user_request *request)
{
    wr_bytes(&request->reply, request->payload, request->len);
    return 0;
}

/* Drops the region that was removed: 0, or ENGINE_LATER while the device holds it, even if it has
 * given up letting go of it. */
static int drop_removed(struct vfio_user_server *server)
{
    struct ob_device *device = server->engine.device;
    if (!device_is_quiet(device) || memory_is_held(server->unmapping))
        return ENGINE_LATER;
    fault_point("dma-unmap");
    memory_drop(device_memory(device), server->unmapping);
    server->unmapping = NULL;
    return 0;
}

/* One region after the other, continued where it had to wait. The vault has all of them until the last is
 * gone: a process that continues begins again. */
static int unmap_all(struct vfio_user_server *server)
{
    struct ob_device *device = server->engine.device;
    int err = 0;
    while (err == 0) {
        int removed =
            server->unmapping ? 0 : memory_remove_any(device_memory(device), &server->unmapping);
        if (removed < 0) {
            device_forget_memory(device, VAULT_MEMORY, NULL);
            return 0;
        }
        if (removed == MEMORY_HELD)
            device_quiesce(device);
        err = drop_removed(server);
    }
    return err;
}

static int unmap_one(struct vfio_user_server *server, uint64_t iova, uint64_t size)
{
    struct ob_device *device = server->engine.device;
    int err = 0;
    if (!server->unmapping)
        err = memory_remove(device_memory(device), iova, size, &server->unmapping);
    if (err == MEMORY_HELD)
        device_quiesce(device);
    if (err < 0)
        return err;
    const uint64_t gpa = server->unmapping->gpa;
    err = drop_removed(server);
    if (err == 0)
        device_forget_memory(device, VAULT_MEMORY, &gpa);
    return err;
}

int vfio_user_dma_unmap(struct vfio_user_request *request)
{
    struct vfio_user_dma_unmap unmap = {0};
    vfio_user_dma_unmap_get(request->payload, request->len, &unmap);
    bool all = unmap.flags == VFIO_DMA_UNMAP_FLAG_ALL && unmap.iova == 0 && unmap.size == 0;
    if (unmap.argsz < VFIO_USER_DMA_UNMAP_LEN || (unmap.flags && !all))
        return -EINVAL;
    int err = all ? unmap_all(request->server) : unmap_one(request->server, unmap.iova, unmap.size);
    return err == 0 ? echo(request) : err;
}

void vfio_user_unmap_stop(struct vfio_user_server *server)
{
    if (server->unmapping)
        memory_drop(device_memory(server->engine.device), server->unmapping);
    server->unmapping = NULL;
}
