// SPDX-License-Identifier: BSD-3-Clause
/*
 * What an mpqemu server has to do, written once more, as plainly as possible and with nothing of
 * the tree but the fake world's files: the yardstick of the fuzz target mpqemu_server.
 *
 * The model is fed with the stream that the engine gets, and says what the engine must reply and
 * what the device's callbacks must see. It runs ahead of an engine whose replies nobody takes, so
 * both are queues, to be compared when there is something to compare.
 */
#ifndef OUTBOARD_FUZZ_MPQEMU_MODEL_H
#define OUTBOARD_FUZZ_MPQEMU_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake/server_host.h"

/* The function that is served. */
#define MODEL_VENDOR 0x1af4u
#define MODEL_DEVICE 0x10f1u
#define MODEL_CLASS  0x020001u

enum {
    MODEL_REGISTERS = 0, /* memory space, 4096 bytes: callbacks */
    MODEL_PORTS = 1,     /* port space, 32 bytes: callbacks */
    MODEL_WIDE = 2,      /* memory space, 64 KiB: callbacks; 64 bits wide on wires that can */
    MODEL_MEMORY = 4,    /* memory space, 4096 bytes: memory */
};

/* Writes of this size to MODEL_REGISTERS make the device do DMA to the address written: as many
 * bytes as the offset says, into at most MODEL_SPANS spans. */
#define MODEL_DMA_SIZE 8u
#define MODEL_SPANS    2u

#define MODEL_EVENTS  256u
#define MODEL_REPLIES ((size_t)MODEL_EVENTS * 208)

/* Something that a callback of the device saw. */
struct model_event {
    enum model_event_kind {
        MODEL_READ,
        MODEL_WRITE,
        MODEL_RESET,
        MODEL_DMA,
        MODEL_MAP
    } kind;
    unsigned bar, size;
    uint64_t offset;
    uint64_t value; /* what was written; of DMA, a digest of the bytes */
    int result;     /* of DMA */
};

struct model_region {
    uint64_t gpa, len, offset, inode;
};

struct model_fd {
    enum fake_kind kind;
    uint64_t inode;
};

struct model {
    bool dialect_known, v8;
    bool refused; /* the connection is over */
    bool raised;
    bool has_events; /* SET_IRQFD came */
    uint8_t config[256];
    uint8_t memory[4096]; /* of MODEL_MEMORY */
    struct model_region regions[8];
    unsigned num_regions;

    uint8_t frame[16 + 192]; /* the frame that is arriving */
    size_t frame_len;
    struct model_fd fds[256];
    unsigned num_fds;

    unsigned num_events;
    size_t replies_len;
    /* Not cleared at start: there are many starts a second. */
    struct model_event events[MODEL_EVENTS];
    uint8_t replies[MODEL_REPLIES];
};

void model_init(struct model *model);
/* The next piece of the stream, with descriptors on it. */
void model_feed(struct model *model, const uint8_t *bytes, size_t len, const struct model_fd *fds,
                unsigned num_fds);
/* Whether an event or a reply more may not fit: the run is to end. */
bool model_is_full(const struct model *model);
void model_set_raised(struct model *model, bool raised);
/* Where a BAR is now. */
uint64_t model_base(const struct model *model, unsigned bar);
/* What the device's read callback returns. */
uint64_t model_register(unsigned bar, uint64_t offset);
uint64_t model_digest(uint64_t digest, uint8_t byte);

#endif
