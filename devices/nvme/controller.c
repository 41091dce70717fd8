// SPDX-License-Identifier: BSD-3-Clause
#include "controller.h"

#include <errno.h>

#include <outboard/irq.h>

#include "doorbell.h"
#include "gate.h"
#include "interrupt.h"
#include "nvme.h"

/* How long enabling and disabling may take, in units of 500 ms: as long as I/O in flight may. */
#define TIMEOUT_UNITS 120u

static uint64_t capabilities(void)
{
    return (NVME_QUEUE_ENTRIES - 1) | NVME_CAP_CQR | NVME_CAP_TO(TIMEOUT_UNITS) | NVME_CAP_CSS_NVM;
}

/* The register file in pieces of 32 bits; everything else reads as zero. */
static uint32_t read32(const struct nvme *nvme, uint64_t offset)
{
    const struct nvme_controller *controller = &nvme->controller;
    switch (offset) {
    case NVME_REG_CAP:
        return (uint32_t)capabilities();
    case NVME_REG_CAP + 4:
        return (uint32_t)(capabilities() >> 32);
    case NVME_REG_VS:
        return NVME_VERSION;
    case NVME_REG_INTMS:
    case NVME_REG_INTMC:
        return controller->intms;
    case NVME_REG_CC:
        return controller->cc;
    case NVME_REG_CSTS:
        return controller->csts;
    case NVME_REG_AQA:
        return controller->aqa;
    case NVME_REG_ASQ:
        return (uint32_t)controller->asq;
    case NVME_REG_ASQ + 4:
        return (uint32_t)(controller->asq >> 32);
    case NVME_REG_ACQ:
        return (uint32_t)controller->acq;
    case NVME_REG_ACQ + 4:
        return (uint32_t)(controller->acq >> 32);
    default:
        return 0;
    }
}

uint64_t controller_read(struct nvme *nvme, uint64_t offset, unsigned size)
{
    uint64_t base = offset & ~UINT64_C(3);
    uint64_t low = read32(nvme, base) | (uint64_t)read32(nvme, base + 4) << 32;
    unsigned shift = 8 * (unsigned)(offset - base);
    uint64_t value = low >> shift;
    if (shift > 0 && size == 8)
        value |= (uint64_t)read32(nvme, base + 8) << (64 - shift);
    return value;
}

/* Section 7.6.1. If a guest asks for a feature that CAP does not offer, the controller fails. */
static void start(struct nvme *nvme)
{
    struct nvme_controller *controller = &nvme->controller;
    uint32_t sq_size = (controller->aqa & 0xfff) + 1;
    uint32_t cq_size = (controller->aqa >> 16 & 0xfff) + 1;
    controller->state = NVME_ON;
    controller->shutdown = SHUTDOWN_NONE;
    controller->csts &= ~NVME_CSTS_SHST_MASK;
    if (NVME_CC_MPS(controller->cc) != 0 || NVME_CC_CSS(controller->cc) != 0 ||
        NVME_CC_AMS(controller->cc) != 0 || sq_size < 2 || cq_size < 2) {
        gate_fail(nvme);
        return;
    }
    queue_cq_create(nvme, 0, controller->acq, cq_size, true, 0);
    queue_sq_create(nvme, 0, controller->asq, sq_size, 0);
    namespaces_restart(nvme);
    watchdog_run(nvme, true);
    controller->csts |= NVME_CSTS_RDY;
}

/* The parts of a controller level reset, section 7.3.2, without the registers. */
static void forget(struct nvme *nvme)
{
    queue_reset(nvme);
    shadow_reset(nvme);
    requests_reset(nvme);
    compare_reset(nvme);
    async_event_reset(nvme);
    features_reset(nvme);
    namespaces_reset(nvme);
    watchdog_run(nvme, false);
}

static void flushed(struct block_io *io, int err);

static void start_flushes(struct nvme *nvme)
{
    struct nvme_controller *controller = &nvme->controller;
    controller->shutdown = SHUTDOWN_FLUSHES;
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        struct nvme_namespace *ns = &nvme->namespaces.list[i];
        if (ns->block->readonly)
            continue;
        ns->shutdown_flush = (struct block_io){.op = BLOCK_FLUSH, .done = flushed, .context = nvme};
        controller->flushing++;
        namespace_start(nvme, ns, &ns->shutdown_flush);
    }
}

/* A flush that fails leaves nothing to be done: the guest has been told of no success but that of
 * its own flushes. If one was stopped, all begin again when the others have ended. */
static void flushed(struct block_io *io, int err)
{
    struct nvme *nvme = io->context;
    struct nvme_controller *controller = &nvme->controller;
    namespace_ended(nvme);
    controller->flushing--;
    if (err == -EAGAIN && !io->block->away && controller->shutdown == SHUTDOWN_FLUSHES)
        controller->shutdown = SHUTDOWN_DRAINS;
}

/* Nothing is under way at the images, nor the flushes of a shutdown, which may outlive it. */
static bool is_idle(const struct nvme *nvme)
{
    return nvme->requests.in_flight == 0 && nvme->controller.flushing == 0;
}

static void update_shutdown(struct nvme *nvme)
{
    struct nvme_controller *controller = &nvme->controller;
    if (controller->shutdown == SHUTDOWN_DRAINS && is_idle(nvme))
        start_flushes(nvme);
    if (controller->shutdown == SHUTDOWN_FLUSHES && controller->flushing == 0) {
        controller->shutdown = SHUTDOWN_COMPLETE;
        controller->csts = (controller->csts & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_COMPLETE;
    }
}

void controller_update(struct nvme *nvme)
{
    struct nvme_controller *controller = &nvme->controller;
    bool enabled = controller->cc & NVME_CC_EN;
    if (nvme->paused || nvme->quiesce.on ||
        nvme->succession.waits) /* registers keep the guest's wish for later */
        return;
    update_shutdown(nvme);
    if (controller->state == NVME_ON && !enabled)
        controller->state = NVME_STOPPING;
    if (controller->state == NVME_STOPPING && watchdog_late(nvme))
        gate_fail(nvme);
    if (controller->state == NVME_STOPPING && is_idle(nvme)) {
        forget(nvme);
        controller->state = NVME_OFF;
        controller->shutdown = SHUTDOWN_NONE;
        controller->csts = 0;
        controller->intms = 0;
        interrupt_update(nvme);
    }
    if (controller->state == NVME_OFF && enabled)
        start(nvme);
}

/* An image that does not answer has the function in the state that a guest could have brought about
 * by disabling the controller: its memory is not its own until CSTS.RDY is 0. */
static void reset_later(struct nvme *nvme)
{
    nvme->controller = (struct nvme_controller){
        .state = NVME_STOPPING,
        .csts = NVME_CSTS_RDY | NVME_CSTS_CFS,
        .flushing = nvme->controller.flushing,
    };
    watchdog_run(nvme, true);
    ob_irq_report_error(nvme->device);
    ob_device_warn(nvme->device,
                   "reset with I/O in flight that can't be called back; the guest's memory may "
                   "change until the image answers");
}

void controller_reset(struct nvme *nvme)
{
    quiesce_end(nvme);
    if (nvme->requests.in_flight > 0) {
        reset_later(nvme);
        return;
    }
    forget(nvme);
    nvme->controller = (struct nvme_controller){.flushing = nvme->controller.flushing};
    interrupt_update(nvme);
}

static void write_cc(struct nvme *nvme, uint32_t value)
{
    struct nvme_controller *controller = &nvme->controller;
    controller->cc = value & NVME_CC_WRITABLE;
    if (NVME_CC_SHN(value) != 0 && controller->shutdown == SHUTDOWN_NONE) {
        controller->shutdown = SHUTDOWN_DRAINS;
        controller->csts |= NVME_CSTS_SHST_OCCURS;
    }
    controller_update(nvme);
}

static uint64_t replace32(uint64_t old, uint64_t offset, uint32_t value)
{
    unsigned shift = offset % 8 ? 32 : 0;
    uint64_t mask = (uint64_t)UINT32_MAX << shift;
    return (old & ~mask) | (uint64_t)value << shift;
}

static void write32(struct nvme *nvme, uint64_t offset, uint32_t value)
{
    struct nvme_controller *controller = &nvme->controller;
    switch (offset) {
    case NVME_REG_INTMS:
        interrupt_mask(nvme, value);
        break;
    case NVME_REG_INTMC:
        interrupt_unmask(nvme, value);
        break;
    case NVME_REG_CC:
        write_cc(nvme, value);
        break;
    case NVME_REG_AQA:
        controller->aqa = value & NVME_AQA_WRITABLE;
        break;
    case NVME_REG_ASQ:
    case NVME_REG_ASQ + 4:
        controller->asq = replace32(controller->asq, offset, value) & ~(uint64_t)(NVME_PAGE - 1);
        break;
    case NVME_REG_ACQ:
    case NVME_REG_ACQ + 4:
        controller->acq = replace32(controller->acq, offset, value) & ~(uint64_t)(NVME_PAGE - 1);
        break;
    default: /* read only, or not there */
        break;
    }
}

/* offset: bytes from the first doorbell. */
static void write_doorbell(struct nvme *nvme, uint64_t offset, uint32_t value)
{
    uint64_t index = offset / NVME_DOORBELL_STRIDE;
    if (offset % NVME_DOORBELL_STRIDE || !gate_runs(nvme))
        return;
    if (nvme->shadow.on && index >= 2) { /* the shadow has the newest value */
        shadow_hear(nvme, index);
        return;
    }
    doorbell_ring(nvme, index, value);
    shadow_follow_admin(nvme);
}

/* Registers are written as a whole, section 3.1: in 32 bits or, where they have 64, at once. */
void controller_write(struct nvme *nvme, uint64_t offset, unsigned size, uint64_t value)
{
    if (size < 4 || offset % size)
        return;
    if (offset >= NVME_REG_DOORBELLS) {
        write_doorbell(nvme, offset - NVME_REG_DOORBELLS, (uint32_t)value);
        return;
    }
    write32(nvme, offset, (uint32_t)value);
    if (size == 8)
        write32(nvme, offset + 4, (uint32_t)(value >> 32));
}
