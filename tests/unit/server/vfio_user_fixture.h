// SPDX-License-Identifier: BSD-3-Clause
/* A device behind the vfio-user engine, in a world made of memory. */
#ifndef OUTBOARD_TESTS_VFIO_USER_FIXTURE_H
#define OUTBOARD_TESTS_VFIO_USER_FIXTURE_H

#include <outboard/dma.h>

#include "fake/server_host.h"
#include "server/vfio_user/vfio_user.h"

#define BUFFER_LEN 4096u

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    struct engine *engine;
    unsigned reads, writes, resets, rings, ended;
    int result;
    struct ob_dma_request request;
    uint8_t buffer[BUFFER_LEN];
};

/* A reply or command of the engine. */
struct sent {
    struct vfio_user_header header;
    uint8_t payload[2 * BUFFER_LEN];
    size_t len;
    int fds[LIMIT_VFIO_USER_FDS];
    unsigned num_fds;
};

void set_up(struct fixture *f);
/* As set_up(), with VERSION done, bus mastering on, and 16 pages of shared memory at 0x10000 and of
 * memory without a descriptor at 0x100000. */
void set_up_serving(struct fixture *f);
/* Maps 16 pages there, shared by this descriptor, which is taken over, or -1. */
void share(struct fixture *f, uint64_t iova, int fd);
/* Fails when anything is left over. */
void tear_down(struct fixture *f);

/* Hands bytes to the engine, with descriptors. As engine_received(). */
int receive(struct fixture *f, const uint8_t *bytes, size_t len, const int *fds, unsigned num_fds);
/* A command with this payload, written to buf; its length. */
size_t command(uint8_t *buf, uint16_t id, uint16_t number, const void *payload, size_t len);
int tell(struct fixture *f, uint16_t number, const void *payload, size_t len, const int *fds,
         unsigned num_fds);
/* Takes the next message that the engine sends; false when there is none. */
bool take(struct fixture *f, struct sent *ret_sent);
/* Tells, and takes the one reply: 0 or the errno in it. */
int ask(struct fixture *f, uint16_t number, const void *payload, size_t len, const int *fds,
        unsigned num_fds, struct sent *ret_reply);
/* Answers a command of the engine. */
int answer(struct fixture *f, const struct sent *request, const void *payload, size_t len);

void submit(struct fixture *f, enum ob_dma_direction direction, uint64_t iova, size_t len);

#endif
