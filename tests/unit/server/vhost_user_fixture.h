// SPDX-License-Identifier: BSD-3-Clause
/* A virtio device of two queues behind the vhost-user engine, in a world made of memory. The front end and its driver
 * are the test's. */
#ifndef OUTBOARD_TESTS_VHOST_USER_FIXTURE_H
#define OUTBOARD_TESTS_VHOST_USER_FIXTURE_H

#include <linux/virtio_config.h>

#include "device/virtio.h"
#include "fake/server_host.h"
#include "server/engine.h"
#include "wire/vhost_user.h"

#define USER       UINT64_C(0x7f0000000000) /* the front end's address of guest address 0 */
#define RING_SIZE  8u
#define DESC       UINT64_C(0x1000)
#define AVAIL      UINT64_C(0x2000)
#define USED       UINT64_C(0x3000)
#define DATA       UINT64_C(0x4000)
#define CONFIG_LEN 8u
#define OWN_LEN    100u

#define BIT(number) (UINT64_C(1) << (number))
#define WIRE        BIT(VHOST_USER_F_PROTOCOL_FEATURES)
#define MODERN      (WIRE | BIT(VIRTIO_F_VERSION_1))

#define NEED_REPLY (VHOST_USER_VERSION | VHOST_USER_NEED_REPLY)

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    struct engine *engine;
    bool holds; /* the device keeps chains until let_go() */
    struct ob_virtio_chain *chains[RING_SIZE];
    unsigned num_chains;
    unsigned negotiations, resets; /* that the device was told of */
    uint8_t config[CONFIG_LEN];
    uint8_t own[OWN_LEN]; /* the device's state */
    unsigned loads;
    uint8_t said[1024]; /* of the engine, since the last message */
    size_t said_len;
    unsigned said_fds;
    int kick, call;
};

/* The device alone, and with its engine. */
void fixture_make(struct fixture *f);
void fixture_start(struct fixture *f);
void fixture_stop(struct fixture *f);

/* Sends a message; the engine's messages are in said. 0 or -EPROTO. */
int fixture_send(struct fixture *f, uint32_t request, uint32_t flags, const void *payload,
                 size_t len, int fd);
int fixture_send_u64(struct fixture *f, uint32_t request, uint32_t flags, uint64_t value, int fd);
int fixture_send_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num);
/* The u64, or the second u32 of a ring's state, that was answered last; fails if there was no answer. */
uint64_t fixture_answer(struct fixture *f);
uint32_t fixture_answer_num(struct fixture *f);
/* The device works, and messages that waited for it are carried out. */
void fixture_poll(struct fixture *f);
/* The driver notifies the queue. */
void fixture_kick(struct fixture *f);

/* Features, protocol features and the memory: FAKE_FILE_LEN bytes at guest address 0. */
void fixture_negotiate(struct fixture *f, uint64_t features);
void fixture_add_memory(struct fixture *f, uint64_t gpa, uint64_t inode, uint32_t flags);
/* The rest of a ring 0 that runs. */
void fixture_start_ring(struct fixture *f, uint32_t base);
/* All of a ring but that it is enabled. */
void fixture_describe_ring(struct fixture *f, uint64_t desc, uint64_t avail, uint64_t used,
                           uint32_t base);
void fixture_set_up_ring(struct fixture *f, uint64_t desc, uint64_t avail, uint64_t used,
                         uint32_t base);

/* The guest's memory. */
uint8_t *fixture_at(struct fixture *f, uint64_t address);
void fixture_put16(struct fixture *f, uint64_t address, uint16_t value);
uint16_t fixture_get16(struct fixture *f, uint64_t address);
/* The driver makes a chain available: a buffer of len bytes to write to. */
void fixture_offer(struct fixture *f, uint16_t head, uint64_t address, uint32_t len);

#endif
