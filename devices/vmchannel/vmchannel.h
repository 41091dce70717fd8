// SPDX-License-Identifier: BSD-3-Clause
/* The virtio console device of a guest's ports (virtio 1.2, section 5.3). */
#ifndef VMCHANNEL_VMCHANNEL_H
#define VMCHANNEL_VMCHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/timer.h>
#include <outboard/virtio.h>

#include "port.h"
#include "port/monitor.h"

#define VMCHANNEL_PORTS_MAX 511u /* whose queues are all that a virtio-pci device here may have */
#define VMCHANNEL_NAME_MAX  200u
#define VMCHANNEL_RING_MAX  64u

struct vmchannel;

/* A port as the options describe it. The texts are kept. */
struct vmchannel_port {
    const char *name;
    enum port_mode mode;
    struct port_end *end;
};

struct vmchannel_config {
    const struct vmchannel_port
        *ports;         /* in the order of their ids; without a name: none with that id */
    unsigned num_ports; /* of these */
    unsigned max_ports; /* that the driver makes queues for */
    uint16_t ring_size;
    struct port_hub *hub;
    int memory_fd; /* of our own, where bytes are put for a process that continues; -1: none does */
    struct port_end *control; /* where events are told and commands taken; NULL: nowhere */
};

/* 0 or a negative errno. */
int vmchannel_new(const struct vmchannel_config *config, struct vmchannel **ret_vmchannel,
                  struct ob_device **ret_device, struct ob_fault *fault);
/* The device is freed before. NULL is fine. */
void vmchannel_free(struct vmchannel *vmchannel);

#endif
