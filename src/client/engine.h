// SPDX-License-Identifier: BSD-3-Clause
/*
 * Client engine: the VMM's side of a wire, without any I/O.
 *
 * The owner makes a request (client_request()), sends the pending bytes with their descriptors
 * (client_pending(), client_sent()) and hands in the remote's bytes (client_received()). This
 * file's half, engine.c, keeps the buffers and the calls that are not answered yet; the half that
 * knows the wire is a struct client_wire.
 *
 * Which answer belongs to which call. Calls are numbered as they are made and stay in `calls` until
 * they are answered, whether anybody still waits or not. A wire whose answers name no call, as
 * mpqemu, answers in order: an answer is for the oldest call. On vfio-user an answer names its
 * call. One that comes after its caller gave up is therefore recognised, and never taken for the
 * answer to a later call. An answer to nothing is a breach of the rules, as is everything else that
 * the wire does not provide for; after a breach the engine takes nothing more.
 *
 * Backpressure. A remote that asks for guest memory by messages gets answers only as far as there
 * is room for them besides a request of our own. Until there is, its next message stays in the
 * buffer and nothing more is received.
 */
#ifndef OUTBOARD_CLIENT_ENGINE_H
#define OUTBOARD_CLIENT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/client.h>
#include <outboard/client_memory.h>
#include <outboard/fault.h>

#include "base/fd_list.h"
#include "base/limits.h"
#include "wire/vfio_user.h"

struct client;

enum client_operation {
    CLIENT_PUBLISH_MEMORY,
    CLIENT_SET_INTX,
    CLIENT_CONFIG_READ,
    CLIENT_CONFIG_WRITE,
    CLIENT_BAR_READ,
    CLIENT_BAR_WRITE,
    CLIENT_RESET,
    CLIENT_PING,
    CLIENT_MESSAGE, /* a struct client_message; vfio-user only */
};

/* A message of vfio-user that is not one of the operations above. */
struct client_message {
    enum vfio_user_command command;
    bool posted; /* the remote is told not to answer */
    const uint8_t *head;
    size_t head_len;
    const uint8_t *data; /* follows the head */
    size_t data_len;
};

/* Where the answer to a client_message goes; one that is longer or brings more is a breach. */
struct client_reply {
    uint8_t *head;
    size_t head_len;
    uint8_t *data; /* takes the bytes behind the head */
    size_t data_len;
    unsigned max_fds;
    size_t len; /* of all that came */
    struct fd_list
        fds; /* that came: a function that takes one puts -1 in its place, see client_drop() */
};

/* A question to the remote. Which fields count follows from the operation. */
struct client_request {
    enum client_operation operation;
    unsigned bar;
    uint64_t offset; /* into configuration space or the BAR */
    unsigned size;
    uint64_t value;
    const struct ob_client_region *regions; /* at most LIMIT_MPQEMU_REGIONS */
    unsigned num_regions;
    int trigger_fd;
    int resample_fd;
    const struct client_message *message;
    struct client_reply *reply; /* of the message, unless it is posted */
    const int *fds;             /* that ride on the message */
    unsigned num_fds;
};

/* Whether the remote answers it: an mpqemu remote does not answer messages about memory and
 * interrupts. */
bool client_is_answered(const struct client_request *request);

struct client_call {
    enum client_operation operation;
    uint64_t serial;
    unsigned size; /* of an access */
    enum vfio_user_command command;
    struct client_reply *reply; /* NULL: nobody looks at the answer, or no longer */
};

/* The content of an answer: a value, or the errno (negative) with which the remote refuses. */
struct client_answer {
    int error;
    uint64_t value;
};

struct client_wire {
    const char *name;    /* as in ob_client_options.wire */
    size_t header_len;   /* bytes that frame_len() needs */
    size_t rx_len;       /* of the buffer for received bytes; the longest frame fits */
    size_t tx_len;       /* of the buffer for bytes that are to be sent */
    unsigned max_fds;    /* that may come with one frame */
    bool sends_commands; /* the remote says things that answer nothing */

    /* Puts the frames of a request, with client_put(). 0, or -EINVAL when it can't be said. */
    int (*request)(struct client *client, const struct client_request *request);
    /* Checks a header and tells the length of the whole frame, header included, at most rx_len; or
     * -EPROTO with the fault filled. Unless the wire sends commands there is at least one call. */
    int (*frame_len)(struct client *client, const uint8_t *header);
    /* Takes one whole frame. 0; CLIENT_LATER, to get it again when there is room for the answer to
     * it; or -EPROTO with the fault filled. A function that keeps a descriptor puts -1 in its place; the
     * rest are closed. */
    int (*take)(struct client *client, const uint8_t *frame, size_t len, struct fd_list *fds);
};

#define CLIENT_LATER 1

/* The engine's questions to the world around it. */
struct client_host {
    /* Copies from and to guest memory, for a remote that has to ask for it. 0 or the negative errno
     * that the remote is told. */
    int (*memory_read)(void *context, uint64_t iova, void *ret_buf, size_t len);
    int (*memory_write)(void *context, uint64_t iova, const void *buf, size_t len);
    void (*close)(void *context, int fd);
    void *context;
};

struct client {
    const struct client_wire *wire;
    const struct client_host *host;
    struct ob_fault fault; /* the breach, if there was one */
    bool opened;           /* the first message has been put; vfio-user: VERSION is done */
    struct vfio_user_capabilities capabilities; /* as agreed; vfio-user only */
    struct ob_client_bar bars[OB_BAR_COUNT];
    uint32_t bar_registers[OB_BAR_COUNT]; /* as the guest wrote them */
    struct client_call calls[LIMIT_CLIENT_CALLS];
    unsigned num_calls;
    uint64_t last_serial;     /* of the last call made; 0: none yet */
    uint64_t answered_serial; /* of the newest call answered */
    struct client_answer answer;
    uint8_t *rx;
    size_t rx_len;
    bool later; /* the first frame in rx waits for room */
    struct fd_list waiting;
    struct fd_list arrived;
    uint8_t *tx;
    size_t tx_len;
    size_t tx_sent;
    size_t tx_put;         /* where the frame that was put last begins */
    struct fd_list tx_fds; /* ride on the byte at tx_fds_at; borrowed */
    size_t tx_fds_at;
};

/* Makes an engine; the host stays the caller's. 0 or -ENOMEM. */
int client_init(struct client *client, const struct client_wire *wire,
                const struct client_host *host);
/* Closes descriptors that nobody took. */
void client_done(struct client *client);

/* Makes a request; every request before must have been sent. *ret_serial is the call's number, or 0
 * when the remote does not answer this. Descriptors are borrowed until they are sent; the reply
 * until the answer has come or client_forget() is called. 0, -EINVAL, -EBUSY when too many calls
 * are unanswered, -EPROTO after a breach. */
int client_request(struct client *client, const struct client_request *request,
                   uint64_t *ret_serial);
/* Says that nobody waits for the answer of a call any more; its reply is the caller's again. */
void client_forget(struct client *client, uint64_t serial);

/* The bytes to send next, and which descriptors ride on its first byte. */
const uint8_t *client_pending(const struct client *client, size_t *ret_len, const int **ret_fds,
                              unsigned *ret_num_fds);
/* Says how much was sent; continues with frames that waited for room. As client_received(). */
int client_sent(struct client *client, size_t len);

/* Where to receive next, and how much; nothing while pending bytes must be sent first. */
uint8_t *client_receive_space(struct client *client, size_t *ret_len);
/* Says that len bytes were received there, with these descriptors, which the engine takes over. 0,
 * or -EPROTO with the fault filled. */
int client_received(struct client *client, size_t len, const int *fds, unsigned num_fds);

/* Whether a call has been answered; *ret_answer is the answer, for the newest call. */
bool client_answered(const struct client *client, uint64_t serial,
                     struct client_answer *ret_answer);

/* Closes the descriptors of a reply that nobody took. */
void client_drop(const struct client *client, struct client_reply *reply);

/* For wires: appends a frame's bytes; room for len bytes. */
uint8_t *client_put(struct client *client, size_t len);
/* For wires: room for a frame besides a request. */
bool client_may_put(const struct client *client, size_t len);
/* For wires: lets a descriptor ride on the frame that was put last. */
void client_put_fd(struct client *client, int fd);
/* For wires: notes a call that will be answered. */
struct client_call *client_expect(struct client *client, enum client_operation operation);
/* For wires: a call has been answered. */
void client_answer(struct client *client, unsigned call, struct client_answer answer);

extern const struct client_wire client_mpqemu;
extern const struct client_wire client_mpqemu_v8;
extern const struct client_wire client_vfio_user;

#endif
