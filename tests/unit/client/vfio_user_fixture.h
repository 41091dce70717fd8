// SPDX-License-Identifier: BSD-3-Clause
/* A client engine over vfio-user, in a world made of memory; and what a remote may say to it. */
#ifndef OUTBOARD_TESTS_VFIO_USER_CLIENT_FIXTURE_H
#define OUTBOARD_TESTS_VFIO_USER_CLIENT_FIXTURE_H

#include "client/engine.h"

#define HEADER     VFIO_USER_HEADER_LEN
#define RAM_AT     0x10000u
#define RAM_LEN    64u
#define ENDLESS_AT (UINT64_C(1) << 40) /* memory of any length */
#define MAX_DATA   LIMIT_VFIO_USER_DATA
#define ANSWER_LEN (HEADER + VFIO_USER_ACCESS_LEN + 8)

struct fixture {
    struct client client;
    struct client_host host;
    uint8_t ram[RAM_LEN];
    unsigned closed;
    uint8_t sent[512]; /* what was sent last */
    size_t sent_len;
    unsigned sent_fds;
};

void set_up(struct fixture *f);
void tear_down(struct fixture *f);

/* Sends all that is pending. */
void send_all(struct fixture *f);
/* Makes a request and sends it; the call's number. */
uint64_t ask(struct fixture *f, const struct client_request *request);
/* Hands bytes to the engine, with descriptors. As client_received(). */
int receive_fds(struct fixture *f, const void *bytes, size_t len, unsigned num_fds);
int receive(struct fixture *f, const void *bytes, size_t len);

/* What a remote says, written to buf; its length. */
size_t frame(uint8_t *buf, uint64_t id, uint16_t command, uint32_t flags, const void *payload,
             size_t len);
size_t dma(uint8_t *buf, uint16_t id, uint16_t command, uint32_t flags, uint64_t iova,
           uint64_t count, const void *data, size_t data_len);

/* A request, and the right answer to it. */
extern const struct client_request bar_read;
size_t value_answer(uint8_t *buf, uint64_t id, uint32_t value);

#endif
