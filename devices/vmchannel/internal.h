// SPDX-License-Identifier: BSD-3-Clause
/* The device; for vmchannel.c and succession.c. */
#ifndef VMCHANNEL_INTERNAL_H
#define VMCHANNEL_INTERNAL_H

#include "vmchannel.h"

struct kept;

/* How another process continues: succession.c. */
struct succession {
    int (*serve)(struct vmchannel *vmchannel); /* has the ends take peers; 0 or a negative errno */
    struct kept *kept;                         /* for the vault; NULL without one */
    bool waits;                                /* the ends take no peers yet */
    bool handed_over;                          /* nothing moves any more */
    bool begins; /* the ports that it has taken over are not committed */
    int *left;   /* descriptors that are not used, to be closed behind the commit */
    unsigned num_left;
};

/* Ids, each at most once. */
struct ring {
    uint16_t ids[VMCHANNEL_PORTS_MAX + 1];
    bool has[VMCHANNEL_PORTS_MAX + 1];
    unsigned first, count;
};

struct vmchannel {
    struct vmchannel_config config;
    struct ob_device *device;
    struct port *ports;        /* config.num_ports; unused ids have no end */
    struct ring work, control; /* ports with work, ports with messages */
    struct ob_timer *timer;
    uint64_t due_ns; /* for which it is set */
    struct monitor *monitor;
    unsigned round;
    bool multiport;
    bool paused;
    uint16_t columns, rows;
    struct succession succession;
};

/* 0 or a negative errno. */
int succession_start(struct vmchannel *vmchannel);
void succession_done(struct vmchannel *vmchannel);
/* As ob_virtio_ops.at_rest(): the process is about to end. Sessions are handed over. */
int succession_hand_over(void *state, struct ob_fault *fault);
/* It continues nevertheless. */
void succession_take_back(struct vmchannel *vmchannel);
/* Whether bytes may be moved outside of a poll, which does not come without a VMM. */
bool succession_is_settled(const struct vmchannel *vmchannel);
/* Before bytes are moved. Whether they may be. */
bool succession_settle(struct vmchannel *vmchannel);

#endif
