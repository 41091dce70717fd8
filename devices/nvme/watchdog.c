// SPDX-License-Identifier: BSD-3-Clause
#include "watchdog.h"

#include "completion.h"
#include "nvme.h"

#define NS_PER_MS UINT64_C(1000000)

void watchdog_tell_changed(struct nvme *nvme, struct nvme_namespace *ns)
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
    watchdog_tell_changed(nvme, ns);
}

static unsigned timer_period_ms(const struct nvme_watchdog *watchdog)
{
    unsigned fraction = watchdog->timeout_ms / 4;
    return fraction < BLOCK_LOOK_MS ? fraction : BLOCK_LOOK_MS;
}

/* Times are as exact as the timer: an operation that began after its last round is not as old as it seems. */
static unsigned longest_silence_ms(const struct nvme_watchdog *watchdog)
{
    return watchdog->timeout_ms + timer_period_ms(watchdog);
}

static void is_late(struct nvme *nvme, struct nvme_namespace *ns)
{
    struct block *block = ns->block;
    if (!ns->late)
        ob_device_warn(nvme->device, "image %.80s has not answered for %u ms; %s", block->name,
                       nvme->watchdog.timeout_ms,
                       block->ops->give_up ? "its requests are given up"
                                           : "its commands stay outstanding until it does");
    ns->late = true;
    if (block->ops->give_up)
        block->ops->give_up(block);
}

/* If operations in flight are given up, the back end says when it has the image again. */
static void is_back(struct nvme *nvme, struct nvme_namespace *ns)
{
    if (!ns->block->ops->give_up)
        ob_device_warn(nvme->device, "image %.80s answers again", ns->block->name);
    ns->late = false;
}

static void look_for_late(struct nvme *nvme)
{
    const struct nvme_namespaces *namespaces = &nvme->namespaces;
    for (unsigned i = 0; i < namespaces->count; i++) {
        struct nvme_namespace *ns = &nvme->namespaces.list[i];
        if (block_is_silent(&ns->silence, ns->block, nvme->watchdog.now_ms,
                            longest_silence_ms(&nvme->watchdog)))
            is_late(nvme, ns);
        else if (ns->late)
            is_back(nvme, ns);
    }
}

static bool has_waited_too_long(const struct nvme_request *request, const void *unused)
{
    const struct nvme_watchdog *watchdog = &request->nvme->watchdog;
    return request->transfer &&
           watchdog->now_ms - request->since_ms >= longest_silence_ms(watchdog);
}

static void set_timer(struct nvme_watchdog *watchdog)
{
    ob_timer_set(watchdog->timer, ob_timer_now_ns() + timer_period_ms(watchdog) * NS_PER_MS);
}

static void timer_due(void *argument)
{
    struct nvme *nvme = argument;
    set_timer(&nvme->watchdog);
    nvme->watchdog.now_ms = block_clock_ms();
    look_for_late(nvme);
    if (nvme->paused)
        return;
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        look(nvme, &nvme->namespaces.list[i]);
    completion_end_parked(nvme, has_waited_too_long, NULL, NVME_INTERNAL_ERROR);
}

int watchdog_init(struct nvme *nvme)
{
    return ob_timer_new(nvme->device, timer_due, nvme, &nvme->watchdog.timer, NULL);
}

void watchdog_done(struct nvme *nvme)
{
    ob_timer_free(nvme->watchdog.timer);
}

void watchdog_run(struct nvme *nvme, bool on)
{
    struct nvme_watchdog *watchdog = &nvme->watchdog;
    watchdog->now_ms = block_clock_ms();
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct nvme_namespace *ns = &nvme->namespaces.list[i];
        block_silence_begin(&ns->silence, ns->block, watchdog->now_ms);
    }
    if (on)
        set_timer(watchdog);
    else
        ob_timer_cancel(watchdog->timer);
}

const struct nvme_namespace *watchdog_late(const struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        if (nvme->namespaces.list[i].late)
            return &nvme->namespaces.list[i];
    return NULL;
}
