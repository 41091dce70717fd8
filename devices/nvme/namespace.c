// SPDX-License-Identifier: BSD-3-Clause
#include "namespace.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <outboard/watch.h>

#include "nvme.h"

/* No file system tells of a file that has grown, so we look. */
#define LOOK_EVERY_S 1

struct nvme_namespace *namespace_find(struct nvme *nvme, uint32_t id)
{
    if (id == 0 || id > nvme->namespaces.count)
        return NULL;
    return &nvme->namespaces.list[id - 1];
}

bool namespace_has(const struct nvme_namespace *ns, uint64_t slba, uint64_t count)
{
    return slba <= ns->blocks && count <= ns->blocks - slba;
}

static void look(struct nvme *nvme, struct nvme_namespace *ns)
{
    if (!ns->block->ops->resized(ns->block))
        return;
    ns->blocks = ns->block->size >> ns->block_shift;
    ns->changed = true;
    if (features_namespace_notices(nvme))
        async_event_raise(nvme, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE,
                          NVME_LOG_CHANGED_NAMESPACES);
}

static void timer_ready(void *argument, unsigned events)
{
    struct nvme *nvme = argument;
    uint64_t expirations;
    if (read(nvme->namespaces.timer_fd, &expirations, sizeof(expirations)) < 0)
        return;
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        look(nvme, &nvme->namespaces.list[i]);
}

int namespaces_watch(struct nvme *nvme)
{
    struct nvme_namespaces *namespaces = &nvme->namespaces;
    int err = 0;
    namespaces->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (namespaces->timer_fd < 0)
        return -errno;
    err = ob_device_watch(nvme->device, namespaces->timer_fd, OB_WATCH_READABLE, timer_ready, nvme);
    for (unsigned i = 0; i < namespaces->count && err == 0; i++) {
        struct block *block = namespaces->list[i].block;
        err = block->ops->watch(block, nvme->device);
    }
    return err;
}

void namespaces_look_for_changes(struct nvme *nvme, bool on)
{
    time_t seconds = on ? LOOK_EVERY_S : 0;
    const struct itimerspec when = {.it_interval = {.tv_sec = seconds},
                                    .it_value = {.tv_sec = seconds}};
    timerfd_settime(nvme->namespaces.timer_fd, 0, &when, NULL);
}

void namespaces_reset(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        nvme->namespaces.list[i].changed = false;
}

void namespaces_done(struct nvme *nvme)
{
    struct nvme_namespaces *namespaces = &nvme->namespaces;
    for (unsigned i = 0; i < namespaces->count; i++)
        namespaces->list[i].block->ops->close(namespaces->list[i].block);
    if (namespaces->timer_fd >= 0)
        close(namespaces->timer_fd);
}

bool namespaces_submit(struct nvme *nvme)
{
    bool again = false;
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        again |= block->ops->submit(block);
    }
    return again;
}

void namespaces_reap(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        block->ops->reap(block);
    }
}

void namespaces_drain(struct nvme *nvme)
{
    /* What ends in one back end may begin something in another, a comparison that waited. */
    while (nvme->requests.in_flight > 0)
        for (unsigned i = 0; i < nvme->namespaces.count; i++) {
            struct block *block = nvme->namespaces.list[i].block;
            block->ops->drain(block);
        }
}
