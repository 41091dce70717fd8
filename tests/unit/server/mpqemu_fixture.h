// SPDX-License-Identifier: BSD-3-Clause
/* A device in a fake world, served over mpqemu, and a peer that speaks to it. */
#ifndef OUTBOARD_TESTS_MPQEMU_FIXTURE_H
#define OUTBOARD_TESTS_MPQEMU_FIXTURE_H

#include "wire/mpqemu.h"

#include "fake/server_host.h"
#include "server/engine.h"
#include "support.h"

#define BAR0 0xfebf0000u /* 4096 bytes of memory space */
#define BAR1 0xc000u     /* 16 ports */

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    struct engine *engine;
    enum mpqemu_dialect dialect;
    unsigned reads, writes, resets;
    uint64_t last_offset, last_value;
};

/* What every fixture's device is and does; its state is the fixture. */
extern const struct ob_device_desc fixture_desc;
extern const struct ob_device_ops fixture_ops;

/* A message with room for one payload that is too long. */
struct message {
    uint8_t bytes[MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN + 8];
    size_t len;
};

/* Makes a device and an engine for it, whose peer speaks that dialect. */
void set_up(struct fixture *f, enum mpqemu_dialect dialect);
/* Frees both; nothing of the world may be left. */
void tear_down(struct fixture *f);
/* The length of a command's payload in a dialect. */
size_t payload_len(enum mpqemu_dialect dialect, enum mpqemu_command command);
/* A message with an empty payload of the right length. */
struct message message(const struct fixture *f, enum mpqemu_command command);
uint8_t *payload(struct message *message);
struct message config_message(const struct fixture *f, enum mpqemu_command command, uint32_t offset,
                              uint32_t len, uint32_t value);
struct message bar_message(const struct fixture *f, enum mpqemu_command command, uint64_t address,
                           uint32_t size, bool memory, uint64_t value);
struct message sysmem_message(const struct fixture *f, const struct mpqemu_sysmem *sysmem);
/* Lets the engine receive bytes with descriptors of the fake world, which it takes over. */
int receive(struct fixture *f, const uint8_t *bytes, size_t len, const int *fds, unsigned num_fds);
/* Takes what the engine has to send. */
size_t take_replies(struct fixture *f, uint8_t *buf, size_t size);
/* Sends a message and expects RET with a value, laid out to the byte. */
uint64_t ask(struct fixture *f, struct message m);
/* Sends a message that is not replied to. */
void tell(struct fixture *f, struct message m, const int *fds, unsigned num_fds);
/* The first message: no memory. */
void greet(struct fixture *f);
uint64_t config_read(struct fixture *f, uint32_t offset, uint32_t len);
uint64_t config_write(struct fixture *f, uint32_t offset, uint32_t len, uint32_t value);
void place_bars(struct fixture *f);

/* Runs a test in both dialects. */
#define IN_BOTH_DIALECTS(name)                                                                     \
    static void name##_in(struct fixture *f);                                                      \
    static void name(void **state)                                                                 \
    {                                                                                              \
        for (int dialect = MPQEMU_SHIPPED; dialect <= MPQEMU_V8; dialect++) {                      \
            struct fixture f;                                                                      \
            set_up(&f, (enum mpqemu_dialect)dialect);                                              \
            name##_in(&f);                                                                         \
            tear_down(&f);                                                                         \
        }                                                                                          \
    }                                                                                              \
    static void name##_in(struct fixture *f)

#endif
