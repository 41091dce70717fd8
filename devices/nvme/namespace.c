// SPDX-License-Identifier: BSD-3-Clause
#include "namespace.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <outboard/watch.h>

#include "nvme.h"

/* No file system tells of a file that has grown, so we look. */
#define LOOK_EVERY_MS 1000u

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

void namespace_changed(struct nvme *nvme, struct nvme_namespace *ns)
{
    ns->changed = true;
    if (features_namespace_notices(nvme))
        async_event_raise(nvme, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE,
                          NVME_LOG_CHANGED_NAMESPACES);
}

static void look(struct nvme *nvme, struct nvme_namespace *ns)
{
    if (!ns->block->ops->resized(ns->block))
        return;
    ns->blocks = ns->block->size >> ns->block_shift;
    namespace_changed(nvme, ns);
}

static unsigned timer_period_ms(const struct nvme_namespaces *namespaces)
{
    unsigned fraction = namespaces->timeout_ms / 4;
    return fraction < LOOK_EVERY_MS ? fraction : LOOK_EVERY_MS;
}

/* Times are as exact as the timer: what began after its last round is not as old as it seems. */
static unsigned longest_silence_ms(const struct nvme_namespaces *namespaces)
{
    return namespaces->timeout_ms + timer_period_ms(namespaces);
}

static void is_late(struct nvme *nvme, struct nvme_namespace *ns)
{
    struct block *block = ns->block;
    if (!ns->late)
        ob_device_warn(nvme->device, "image %.80s has not answered for %u ms; %s", block->name,
                       nvme->namespaces.timeout_ms,
                       block->ops->give_up ? "what it was asked for is given up"
                                           : "its commands stay outstanding until it does");
    ns->late = true;
    if (block->ops->give_up)
        block->ops->give_up(block);
}

/* Where what was in flight is given up, the back end says when it has the image again. */
static void is_back(struct nvme *nvme, struct nvme_namespace *ns)
{
    if (!ns->block->ops->give_up)
        ob_device_warn(nvme->device, "image %.80s goes on", ns->block->name);
    ns->late = false;
}

static void look_for_late(struct nvme *nvme)
{
    const struct nvme_namespaces *namespaces = &nvme->namespaces;
    for (unsigned i = 0; i < namespaces->count; i++) {
        struct nvme_namespace *ns = &nvme->namespaces.list[i];
        if (block_is_silent(&ns->silence, ns->block, namespaces->now_ms,
                            longest_silence_ms(namespaces)))
            is_late(nvme, ns);
        else if (ns->late)
            is_back(nvme, ns);
    }
}

static bool has_waited_too_long(const struct nvme_request *request, const void *unused)
{
    const struct nvme_namespaces *namespaces = &request->nvme->namespaces;
    return request->transfer &&
           namespaces->now_ms - request->since_ms >= longest_silence_ms(namespaces);
}

static void timer_ready(void *argument, unsigned events)
{
    struct nvme *nvme = argument;
    uint64_t expirations;
    if (read(nvme->namespaces.timer_fd, &expirations, sizeof(expirations)) < 0)
        return;
    nvme->namespaces.now_ms = block_clock_ms();
    look_for_late(nvme);
    if (nvme->paused)
        return;
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        look(nvme, &nvme->namespaces.list[i]);
    requests_end_parked(nvme, has_waited_too_long, NULL, NVME_INTERNAL_ERROR);
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

void namespaces_run_timer(struct nvme *nvme, bool on)
{
    struct nvme_namespaces *namespaces = &nvme->namespaces;
    unsigned period_ms = on ? timer_period_ms(namespaces) : 0;
    const struct timespec period = {.tv_sec = period_ms / 1000,
                                    .tv_nsec = (long)(period_ms % 1000) * 1000000};
    const struct itimerspec when = {.it_interval = period, .it_value = period};
    namespaces->now_ms = block_clock_ms();
    for (unsigned i = 0; i < namespaces->count; i++)
        block_silence_begin(&namespaces->list[i].silence, namespaces->list[i].block,
                            namespaces->now_ms);
    timerfd_settime(namespaces->timer_fd, 0, &when, NULL);
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

void namespaces_restart(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        if (block->ops->restart)
            block->ops->restart(block);
    }
}

void namespaces_rest(struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct block *block = nvme->namespaces.list[i].block;
        if (block->ops->rest)
            block->ops->rest(block);
    }
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

void namespace_start(struct nvme *nvme, struct nvme_namespace *ns, struct block_io *io)
{
    nvme->requests.in_flight++;
    ns->block->ops->start(ns->block, io);
}

void namespace_ended(struct nvme *nvme)
{
    nvme->requests.in_flight--;
}

void namespaces_drain(struct nvme *nvme)
{
    struct block *blocks[NVME_NAMESPACES];
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        blocks[i] = nvme->namespaces.list[i].block;
    blocks_drain(blocks, nvme->namespaces.count, NVME_DRAIN_MS);
}

const struct nvme_namespace *namespaces_late(const struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        if (nvme->namespaces.list[i].late)
            return &nvme->namespaces.list[i];
    return NULL;
}
