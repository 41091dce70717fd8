// SPDX-License-Identifier: BSD-3-Clause
#include "device/irq.h"

#include <errno.h>
#include <stdlib.h>

#include <outboard/irq.h>

#include "base/fault_point.h"
#include "base/limits.h"
#include "device/device_vault.h"
#include "device/internal.h"
#include "device/trace.h"

static struct irq_vector *vector_of(struct ob_device *device, enum irq_kind kind, unsigned index)
{
    return &device->pci->irqs.vectors[kind][index];
}

static bool has_intx(const struct ob_device *device)
{
    return device->pci->irqs.count[IRQ_INTX] > 0;
}

int irqs_init(struct ob_device *device, const struct ob_device_desc *desc, struct ob_fault *fault)
{
    struct device_irqs *irqs = &device->pci->irqs;
    int err = msi_init(&irqs->msi, &device->pci->function, desc, fault);
    if (err == 0)
        err = msix_init(&irqs->msix, &device->pci->function, desc, fault);
    if (err < 0)
        return ob_fault_set(fault, err, "%s: configuration space has no room for MSI or MSI-X",
                            desc->name);
    const unsigned counts[IRQ_KIND_COUNT] = {desc->intx, irqs->msi.vectors, irqs->msix.vectors, 1,
                                             1};
    unsigned total = 1;
    for (unsigned kind = 0; kind < IRQ_KIND_COUNT; kind++)
        total += counts[kind];
    irqs->all = malloc(total * sizeof(*irqs->all));
    if (!irqs->all)
        return ob_fault_set(fault, -ENOMEM, "%s: no memory for interrupts", desc->name);
    for (unsigned i = 0; i < total; i++)
        irqs->all[i] = (struct irq_vector){.fd = -1};
    struct irq_vector *next = irqs->all;
    for (unsigned kind = 0; kind < IRQ_KIND_COUNT; kind++) {
        irqs->vectors[kind] = next;
        irqs->count[kind] = counts[kind];
        next += kind == IRQ_INTX ? 1 : counts[kind];
    }
    return 0;
}

void irqs_done(struct ob_device *device)
{
    msix_done(&device->pci->irqs.msix);
    free(device->pci->irqs.all);
}

static __attribute__((cold)) void trace_vector(const struct ob_device *device,
                                               const struct irq_vector *vector)
{
    static const char *const names[IRQ_KIND_COUNT] = {"INTx", "MSI", "MSI-X", "error", "request"};
    for (unsigned kind = IRQ_KIND_COUNT; kind-- > 0;)
        if (vector >= device->pci->irqs.vectors[kind]) {
            trace_say(device, "signals %s vector %u", names[kind],
                      (unsigned)(vector - device->pci->irqs.vectors[kind]));
            return;
        }
}

static void signal_vector(struct ob_device *device, const struct irq_vector *vector)
{
    if (trace_is_on(device->traces))
        trace_vector(device, vector);
    fault_point("interrupt");
    device->host->event_signal(device->host->context, vector->fd);
    fault_point("interrupted");
}

/* Tells the VMM that the level is up, if it is and nothing is in the way. */
static void signal_intx(struct ob_device *device)
{
    struct device_irqs *irqs = &device->pci->irqs;
    struct irq_vector *vector = irqs->vectors[IRQ_INTX];
    if (device->dormant || !irqs->intx_raised || vector->fd < 0 || vector->masked ||
        pci_function_intx_disabled(&device->pci->function))
        return;
    vector->masked = irqs->intx_automasks;
    signal_vector(device, vector);
}

static bool is_pending(const struct ob_device *device, enum irq_kind kind, unsigned index)
{
    const struct device_irqs *irqs = &device->pci->irqs;
    return kind == IRQ_MSIX ? msix_is_pending(&irqs->msix, index)
                            : msi_is_pending(&irqs->msi, &device->pci->function, index);
}

static void set_pending(struct ob_device *device, enum irq_kind kind, unsigned index, bool pending)
{
    struct device_irqs *irqs = &device->pci->irqs;
    if (kind == IRQ_MSIX)
        msix_set_pending(&irqs->msix, index, pending);
    else
        msi_set_pending(&irqs->msi, &device->pci->function, index, pending);
}

/* Signals a message signalled interrupt, or keeps it pending. */
static void send_message(struct ob_device *device, enum irq_kind kind, unsigned index)
{
    const struct irq_vector *vector = vector_of(device, kind, index);
    bool blocked = device->dormant || vector->fd < 0 || vector->masked;
    if (kind == IRQ_MSI && msi_is_masked(&device->pci->irqs.msi, &device->pci->function, index))
        blocked = true;
    set_pending(device, kind, index, blocked);
    if (!blocked)
        signal_vector(device, vector);
}

/* Signals interrupts that are pending and no longer blocked. */
static void retry_message(struct ob_device *device, enum irq_kind kind, unsigned index)
{
    if (is_pending(device, kind, index))
        send_message(device, kind, index);
}

/* Whether the guest uses a kind of message: the VMM has given an eventfd for it, or the guest's
 * enable bit has come through. */
static bool is_used(const struct ob_device *device, enum irq_kind kind)
{
    const struct device_irqs *irqs = &device->pci->irqs;
    if (irqs->given[kind] > 0)
        return true;
    return kind == IRQ_MSIX ? msix_is_enabled(&irqs->msix, &device->pci->function)
                            : msi_is_enabled(&irqs->msi, &device->pci->function);
}

bool irq_uses_msix(const struct ob_device *device)
{
    return is_used(device, IRQ_MSIX);
}

void ob_irq_raise(struct ob_device *device)
{
    if (!device || !has_intx(device) || device->pci->irqs.intx_raised)
        return;
    device->pci->irqs.intx_raised = true;
    pci_function_set_interrupt_status(&device->pci->function, true);
    signal_intx(device);
}

void ob_irq_lower(struct ob_device *device)
{
    if (!device)
        return;
    device->pci->irqs.intx_raised = false;
    pci_function_set_interrupt_status(&device->pci->function, false);
}

bool ob_irq_ends_by_access(const struct ob_device *device)
{
    return device && has_intx(device) && device->pci->irqs.intx_unmask_fd < 0 &&
           !is_used(device, IRQ_MSIX) && !is_used(device, IRQ_MSI);
}

int ob_irq_signal(struct ob_device *device, unsigned vector)
{
    if (!device)
        return -EINVAL;
    const struct device_irqs *irqs = &device->pci->irqs;
    if (vector >= irqs->count[IRQ_MSIX] && vector >= irqs->count[IRQ_MSI])
        return -EINVAL;
    if (vector < irqs->count[IRQ_MSIX] &&
        (irqs->vectors[IRQ_MSIX][vector].fd >= 0 || is_used(device, IRQ_MSIX))) {
        send_message(device, IRQ_MSIX, vector);
        return 0;
    }
    if (irqs->count[IRQ_MSI] > 0 && is_used(device, IRQ_MSI)) {
        send_message(device, IRQ_MSI, vector % msi_granted(&irqs->msi, &device->pci->function));
        return 0;
    }
    return -ENOTCONN;
}

static int notify(struct ob_device *device, enum irq_kind kind)
{
    if (!device)
        return -EINVAL;
    const struct irq_vector *vector = vector_of(device, kind, 0);
    if (device->dormant || vector->fd < 0)
        return -ENOTCONN;
    signal_vector(device, vector);
    return 0;
}

int ob_irq_report_error(struct ob_device *device)
{
    return notify(device, IRQ_ERROR);
}

int ob_irq_request_removal(struct ob_device *device)
{
    return notify(device, IRQ_REQUEST);
}

unsigned irq_count(const struct ob_device *device, enum irq_kind kind)
{
    return device->pci->irqs.count[kind];
}

void irq_automask_intx(struct ob_device *device, bool automasks)
{
    device->pci->irqs.intx_automasks = automasks;
}

/* Replaces the eventfd of a vector. */
static void set_vector(struct ob_device *device, enum irq_kind kind, unsigned index, int fd)
{
    struct irq_vector *vector = vector_of(device, kind, index);
    device->pci->irqs.given[kind] += (unsigned)(fd >= 0) - (unsigned)(vector->fd >= 0);
    if (vector->fd >= 0)
        device_let_go(device, vector->fd);
    if (vector->fd >= 0 || fd >= 0)
        device_keep(device, VAULT_VECTOR, kind, index, fd);
    *vector = (struct irq_vector){.fd = fd, .masked = fd >= 0 && vector->masked};
    if (fd < 0)
        return;
    if (kind == IRQ_INTX)
        signal_intx(device);
    else if (kind == IRQ_MSI || kind == IRQ_MSIX)
        retry_message(device, kind, index);
}

/* Whether a descriptor is the eventfd of one of our own doorbells, which the device watches. */
static bool is_doorbell(struct ob_device *device, int fd)
{
    const struct server_host *host = device->host;
    const struct doorbells *doorbells = &device->pci->doorbells;
    for (unsigned i = 0; i < doorbells->num_lines; i++) {
        int line_fd = doorbells->lines[i].fd;
        if (line_fd >= 0 && host->event_is_same(host->context, line_fd, fd))
            return true;
    }
    return false;
}

/* Whether an eventfd can signal an interrupt. One that the device watches itself can't: each signal
 * would be followed by the next. */
static int check_trigger(struct ob_device *device, int fd)
{
    const struct server_host *host = device->host;
    const int unmask_fd = device->pci->irqs.intx_unmask_fd;
    if (fd < 0)
        return 0;
    int err = host->event_check(host->context, fd);
    if (err < 0)
        return err;
    bool watched = (unmask_fd >= 0 && host->event_is_same(host->context, fd, unmask_fd)) ||
                   is_doorbell(device, fd);
    return watched ? -EINVAL : 0;
}

int irq_assign(struct ob_device *device, enum irq_kind kind, unsigned start, unsigned count,
               const int *fds)
{
    for (unsigned i = 0; fds && i < count; i++) {
        int err = check_trigger(device, fds[i]);
        if (err < 0)
            return err;
    }
    for (unsigned i = 0; i < count; i++)
        set_vector(device, kind, start + i, fds ? fds[i] : -1);
    return 0;
}

int irq_set_intx(struct ob_device *device, int trigger_fd, int unmask_fd)
{
    const struct server_host *host = device->host;
    int err = check_trigger(device, trigger_fd);
    if (err == 0 && trigger_fd >= 0 && unmask_fd >= 0 &&
        host->event_is_same(host->context, trigger_fd, unmask_fd))
        err = -EINVAL;
    if (err == 0)
        err = irq_unmask_by(device, unmask_fd);
    if (err == 0)
        set_vector(device, IRQ_INTX, 0, trigger_fd);
    return err;
}

void irq_trigger(struct ob_device *device, enum irq_kind kind, unsigned vector)
{
    const struct irq_vector *target = vector_of(device, kind, vector);
    if (kind == IRQ_MSI || kind == IRQ_MSIX)
        send_message(device, kind, vector);
    else if (target->fd >= 0 && !target->masked)
        signal_vector(device, target);
}

void irq_mask(struct ob_device *device, enum irq_kind kind, unsigned vector)
{
    vector_of(device, kind, vector)->masked = true;
}

void irq_unmask(struct ob_device *device, enum irq_kind kind, unsigned vector)
{
    vector_of(device, kind, vector)->masked = false;
    if (kind == IRQ_INTX)
        signal_intx(device);
    else if (kind == IRQ_MSI || kind == IRQ_MSIX)
        retry_message(device, kind, vector);
}

static void intx_masked(void *argument)
{
    if (has_intx(argument))
        irq_mask(argument, IRQ_INTX, 0);
}

/* The guest has ended the interrupt. Only the device knows whether it has dealt with all that there
 * was, which it may have said in memory alone. */
static void intx_unmasked(void *argument)
{
    device_poll(argument);
    if (has_intx(argument))
        irq_unmask(argument, IRQ_INTX, 0);
}

/* Replaces a watched eventfd of the peer. */
static int watch(struct ob_device *device, int *slot, int fd, void (*fired)(void *argument),
                 enum vault_kind kind)
{
    const struct server_host *host = device->host;
    int err = fd >= 0 ? host->event_check(host->context, fd) : 0;
    if (err == 0 && fd >= 0)
        err = host->event_watch(host->context, fd, fired, device);
    if (err < 0)
        return err;
    if (*slot >= 0) {
        host->event_unwatch(host->context, *slot);
        device_let_go(device, *slot);
    }
    if (*slot >= 0 || fd >= 0)
        device_keep(device, kind, 0, 0, fd);
    *slot = fd;
    return 0;
}

int irq_mask_by(struct ob_device *device, int fd)
{
    return watch(device, &device->pci->irqs.intx_mask_fd, fd, intx_masked, VAULT_INTX_MASK);
}

int irq_unmask_by(struct ob_device *device, int fd)
{
    const struct server_host *host = device->host;
    const int trigger_fd = vector_of(device, IRQ_INTX, 0)->fd;
    if (fd >= 0 && trigger_fd >= 0 && host->event_is_same(host->context, fd, trigger_fd))
        return -EINVAL;
    return watch(device, &device->pci->irqs.intx_unmask_fd, fd, intx_unmasked, VAULT_INTX_UNMASK);
}

void irqs_disconnect(struct ob_device *device)
{
    struct device_irqs *irqs = &device->pci->irqs;
    if (!irqs->all)
        return;
    set_vector(device, IRQ_INTX, 0, -1);
    for (unsigned kind = IRQ_MSI; kind < IRQ_KIND_COUNT; kind++)
        for (unsigned i = 0; i < irqs->count[kind]; i++)
            set_vector(device, kind, i, -1);
    irq_mask_by(device, -1);
    irq_unmask_by(device, -1);
}

void irqs_wake(struct ob_device *device)
{
    signal_intx(device);
    for (unsigned kind = IRQ_MSI; kind <= IRQ_MSIX; kind++)
        for (unsigned i = 0; i < device->pci->irqs.count[kind]; i++)
            retry_message(device, kind, i);
}

void irqs_reset(struct ob_device *device)
{
    ob_irq_lower(device);
    if (device->pci->irqs.msix.vectors > 0)
        msix_reset(&device->pci->irqs.msix);
}

void irqs_config_changed(struct ob_device *device, bool intx_was_disabled)
{
    if (has_intx(device) && intx_was_disabled)
        signal_intx(device);
    for (unsigned i = 0; i < device->pci->irqs.count[IRQ_MSI]; i++)
        retry_message(device, IRQ_MSI, i);
}
