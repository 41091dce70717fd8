// SPDX-License-Identifier: BSD-3-Clause
#include "nvme.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "identify.h"
#include "queue_admin.h"
#include "schedule.h"
#include "state.h"

#define CLASS_NVME     0x010802u
#define REGISTERS_BAR  0
#define REGISTERS_SIZE 0x4000u /* registers, doorbells of 64 queue pairs, MSI-X */
#define MSIX_OFFSET    0x2000u

static uint64_t read_register(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    return controller_read(state, offset, size);
}

static void write_register(void *state, unsigned bar, uint64_t offset, unsigned size,
                           uint64_t value)
{
    controller_write(state, offset, size, value);
}

static void reset(void *state)
{
    controller_reset(state);
}

/* Whether commands came or ended since the last time. */
static bool was_active(struct nvme *nvme)
{
    unsigned before = nvme->seen_turnover;
    nvme->seen_turnover = nvme->requests.turnover;
    return nvme->seen_turnover != before;
}

static bool poll(void *state)
{
    struct nvme *nvme = state;
    namespaces_reap(nvme);
    if (nvme->paused ||
        nvme->succession.waits) { /* requests in flight end, and no new ones begin */
        if (nvme->succession.kept)
            succession_post(nvme);
        interrupt_tell(nvme);
        return namespaces_submit(nvme) || quiesce_poll(nvme);
    }
    shadow_look(nvme);
    succession_post(nvme);
    bool more = schedule_run(nvme);
    namespaces_submit(nvme);
    namespaces_reap(nvme); /* data in the page cache is there already */
    queue_admin_update(nvme);
    controller_update(nvme);
    more |= namespaces_submit(nvme); /* further pieces, and the flushes of a shutdown */
    more |= quiesce_poll(nvme);
    if (nvme->succession.kept)
        succession_post(nvme);
    interrupt_round(nvme);
    return was_active(nvme) || more;
}

static bool has_io_in_flight(void *state)
{
    const struct nvme *nvme = state;
    return nvme->requests.in_flight > 0;
}

static bool has_deferred_work(void *state)
{
    return interrupt_is_held(state);
}

static bool before_sleep(void *state)
{
    struct nvme *nvme = state;
    interrupt_tell(nvme);
    return !nvme->paused && !nvme->quiesce.on && shadow_listen(nvme);
}

static void quiesce(void *state)
{
    quiesce_begin(state);
}

static int quiesced(void *state)
{
    return quiesce_ask(state);
}

static void disconnected(void *state)
{
    quiesce_end(state);
    namespaces_rest(state);
}

static void pause(void *state, bool paused)
{
    struct nvme *nvme = state;
    nvme->paused = paused;
    if (paused)
        return;
    watchdog_run(nvme, nvme->controller.state != NVME_OFF);
    requests_renew_parked(nvme);
}

/* An operation that a back end has begun must end: a write that it carried out later, when its successor has
 * carried out the next one to the same blocks, would undo that. */
static int at_rest(void *state, struct ob_fault *fault)
{
    const struct nvme *nvme = state;
    const struct nvme_namespace *late = watchdog_late(nvme);
    if (nvme->requests.in_flight == 0)
        return 1;
    if (!late || late->block->ops->give_up)
        return 0;
    return ob_fault_set(
        fault, -ETIMEDOUT,
        "image %.80s does not answer, so the controller can't stop; try again when it answers",
        late->block->name);
}

static void add_namespace(struct nvme *nvme, const struct nvme_image *image)
{
    struct nvme_namespace *ns = &nvme->namespaces.list[nvme->namespaces.count++];
    *ns = (struct nvme_namespace){.id = nvme->namespaces.count,
                                  .block = image->block,
                                  .block_shift = image->block_size == 4096 ? 12 : 9};
    ns->blocks = image->block->size >> ns->block_shift;
    memcpy(ns->uuid, image->uuid, sizeof(ns->uuid));
}

static int new_device(struct nvme *nvme, struct ob_fault *fault)
{
    static const struct ob_device_ops ops = {.size = sizeof(ops),
                                             .read = read_register,
                                             .write = write_register,
                                             .reset = reset,
                                             .poll = poll,
                                             .has_io_in_flight = has_io_in_flight,
                                             .has_deferred_work = has_deferred_work,
                                             .before_sleep = before_sleep,
                                             .quiesce = quiesce,
                                             .quiesced = quiesced,
                                             .pause = pause,
                                             .at_rest = at_rest,
                                             .save = nvme_state_save,
                                             .load = nvme_state_load,
                                             .disconnected = disconnected};
    const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "nvme",
        .vendor_id = NVME_PCI_VENDOR,
        .device_id = NVME_PCI_DEVICE,
        .subsystem_vendor_id = NVME_PCI_VENDOR,
        .subsystem_id = NVME_PCI_SUBSYSTEM,
        .class_code = CLASS_NVME,
        .intx = true,
        .msi_vectors = (uint8_t)(nvme->interrupts == NVME_MSI ? interrupt_vectors(nvme) : 0),
        .msix_vectors = (uint16_t)(nvme->interrupts == NVME_MSIX ? interrupt_vectors(nvme) : 0),
        .msix_bar = REGISTERS_BAR,
        .msix_offset = MSIX_OFFSET,
        .bars = {[REGISTERS_BAR] = {.kind = OB_BAR_MEM64, .size = REGISTERS_SIZE}},
        .state_len = NVME_STATE_LEN,
        .state_version = NVME_STATE_VERSION,
    };
    return ob_device_new(&desc, &ops, nvme, &nvme->device, fault);
}

int nvme_new(const struct nvme_options *options, struct nvme **ret_nvme,
             struct ob_device **ret_device, struct ob_fault *fault)
{
    struct nvme *nvme = calloc(1, sizeof(*nvme));
    if (!nvme)
        return ob_fault_set(fault, -ENOMEM, "no memory for the controller");
    nvme->log.since = time(NULL);
    nvme->watchdog.timeout_ms = options->timeout_ms;
    nvme->interrupts = options->interrupts;
    snprintf(nvme->serial, sizeof(nvme->serial), "%s", options->serial);
    int err = requests_init(nvme);
    if (err < 0)
        ob_fault_set(fault, err, "no memory for the controller's requests");
    if (err == 0)
        err = new_device(nvme, fault);
    for (unsigned i = 0; i < options->count && err == 0; i++)
        add_namespace(nvme, &options->images[i]);
    if (err == 0)
        err = watchdog_init(nvme);
    if (err == 0)
        err = quiesce_init(nvme);
    if (err == 0)
        err = namespaces_watch(nvme);
    if (err == 0)
        err = succession_init(nvme);
    if (err < 0) {
        ob_fault_set(fault, err, "can't watch the images: %s", strerror(-err));
        ob_device_free(nvme->device);
        nvme->namespaces.count = 0;
        nvme_free(nvme);
        return err;
    }
    controller_reset(nvme);
    *ret_nvme = nvme;
    *ret_device = nvme->device;
    return 0;
}

void nvme_free(struct nvme *nvme)
{
    if (!nvme || nvme->requests.in_flight > 0)
        return;
    namespaces_done(nvme);
    watchdog_done(nvme);
    quiesce_done(nvme);
    succession_done(nvme);
    requests_done(nvme);
    free(nvme);
}
