// SPDX-License-Identifier: BSD-3-Clause
/*
 * Engine: a device served over a wire, without any I/O.
 *
 * The owner of the connection receives bytes and descriptors straight into the engine
 * (engine_receive_space(), engine_received()) and sends the engine's bytes
 * (engine_pending(), engine_sent()). This file's half, engine.c, cuts the stream into frames,
 * decides which frame a descriptor belongs to, and keeps the replies; the half that knows the wire
 * is a struct engine_ops.
 *
 * Descriptors. The kernel ends a receive behind the bytes that carried descriptors, so these belong
 * to the last frame begun by then: those that arrive are `arrived` until later bytes follow; once
 * the frame they belong to is first in the buffer and still incomplete they are `waiting`.
 *
 * Descriptors that are sent ride on the first byte of their reply, for a peer may take them off the
 * header alone. So a send ends before such a reply, and the next frame waits until it is gone.
 *
 * Backpressure. A frame is only looked at while there is room for its reply. A peer that does not
 * read its replies is therefore not read either, and nothing grows. The same holds while the device
 * can't carry a frame out yet.
 */
#ifndef OUTBOARD_SERVER_ENGINE_H
#define OUTBOARD_SERVER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/fault.h>

#include "base/fd_list.h"
#include "device/device.h"
#include "device/vault.h"

struct engine;
struct trace_message;

/* Whether the first bytes of a peer are of a wire. */
enum recognition {
    WIRE_MORE, /* more bytes are needed to tell */
    WIRE_NO,
    WIRE_YES,
};

/* A session that outlives its process, in a vault. */
struct engine_session_ops {
    /* Writes the session of the wire's code for the next commit. */
    void (*put)(struct engine *engine);
    /* Takes it from there: 0 or a negative errno with the fault filled. */
    int (*resume)(struct engine *engine, struct ob_fault *fault);
    /* Answers a frame that kills each process that looks at it with an error. False: it has no
     * answer that says so. */
    bool (*answer_error)(struct engine *engine, const uint8_t *frame, size_t len);
};

struct engine_ops {
    const char *wire;    /* as in --wire= */
    size_t instance_len; /* bytes of the wire's own struct, whose first member is a struct engine */
    size_t header_len;   /* bytes that frame_len() needs */
    size_t rx_len;       /* of the buffer for received bytes; the longest frame fits */
    size_t tx_len;       /* of the buffer for bytes that are to be sent */
    size_t reply_limit;  /* the longest reply to one frame, bytes */
    bool has_dma_messages; /* memory that is not shared is reached all the same */
    bool only_virtio;      /* carries no other device */
    unsigned
        answer_ms; /* a VMM may give a message up that has no answer after this time; 0: it waits */

    /* Once its answer for len bytes is not WIRE_MORE, it is the same for more bytes. */
    enum recognition (*recognises)(const uint8_t *bytes, size_t len);
    /* Bytes of the message that a header of header_len bytes announces; 0: it is no message that a peer
     * begins with. */
    uint64_t (*first_len)(const uint8_t *header);

    /* Checks a header and tells the length of the whole frame, header included, at most rx_len; or
     * -EPROTO with the engine's fault filled. Called once for each frame, before handle() gets it:
     * its result is kept until then. */
    int (*frame_len)(struct engine *engine, const uint8_t *header);
    /* Carries out one whole frame. 0; ENGINE_LATER, to get it again, without the descriptors, when
     * something has happened; or -EPROTO with the fault filled: the connection is over. A handler that
     * keeps a descriptor puts -1 in its place; the rest are closed. */
    int (*handle)(struct engine *engine, const uint8_t *frame, size_t len, struct fd_list *fds);
    /* Fits the device to the wire before anything is received, or tells why it can't be. Its
     * changes of the function are undone for the next peer, which may speak another wire. */
    int (*fit_device)(struct ob_device *device, struct ob_fault *fault);

    /* Traces a message, for which the engine's device has asked. */
    void (*trace)(const struct engine *engine, const struct trace_message *message);

    /* The rest may be NULL. */
    /* Makes the answer, header_len bytes, by which a peer whose message has this header learns that
     * the device is busy. False: the wire has no such answer. */
    bool (*answer_busy)(const uint8_t *header, uint8_t *ret_answer);
    /* Opens the descriptors that the wire's code needs, once in a process. */
    void (*prepare)(void);
    /* The engine is made; 0 or a negative errno with the fault filled. */
    int (*start)(struct engine *engine, struct ob_fault *fault);
    /* The engine is about to go. */
    void (*stop)(struct engine *engine);
    /* Sends messages of the engine's own accord, as far as there is room for them. */
    void (*pump)(struct engine *engine);
    const struct engine_session_ops *session; /* NULL: a session ends with its process */
};

#define ENGINE_LATER 1

/* The reply to be sent next: bytes, and descriptors that ride on the first of them. */
struct engine_output {
    const uint8_t *bytes;
    size_t len;
    const int *fds; /* stay the engine's */
    unsigned num_fds;
};

struct engine {
    const struct engine_ops *ops;
    struct ob_device *device;
    struct ob_fault fault; /* why the connection is over */
    uint8_t *rx;
    size_t rx_len;
    size_t frame_len; /* of the frame that is first in the buffer; 0: its header was not read yet */
    struct fd_list waiting;
    struct fd_list arrived;
    uint8_t *tx;
    size_t tx_len;
    size_t tx_sent;
    bool started;
    bool later;            /* the frame that is first in the buffer waits for something */
    bool traced;           /* and has been traced */
    struct fd_list tx_fds; /* ride on the byte at tx_fds_at; somebody else's to close */
    size_t tx_fds_at;
    struct vault *vault;  /* NULL: a session ends with its process */
    unsigned fds_handled; /* descriptors of the frame that is being handled */
    bool poisoned;        /* the next frame has killed each process before */
    bool at_hand;         /* the process before died when it looked at the next frame */
};

/* Serves device over the wire of ops, to one peer. -ENOMEM, or -ENOTSUP when the wire can't carry
 * the device or its memory, with the fault filled. */
int engine_new(const struct engine_ops *ops, struct ob_device *device, struct engine **ret_engine,
               struct ob_fault *fault);
/* Closes descriptors that nobody took and takes back the peer's memory and eventfds from the device. */
void engine_free(struct engine *engine);

/* The connection of a process that has ended. */
struct engine_past {
    uint64_t received, sent; /* bytes */
    struct engine_past_fd {
        uint64_t end; /* the byte behind the receive that brought it */
        int fd;
    } const *fds;
    unsigned num_fds;
    bool poisoned; /* its next message has killed each process that looked at it */
    bool at_hand;  /* the process before died when it looked at the next message */
};

/* A new engine continues from the vault, whose owner the process is. 0, or a negative errno
 * with the fault filled: the connection can't be saved. */
int engine_resume(struct engine *engine, struct vault *vault, const struct engine_past *past,
                  struct ob_fault *fault);

/* The connection is over: has the device let go of the peer's memory. Whether it has, or waiting is
 * no use; if not, to be called again after any callback of the device, before engine_free(), which
 * waits for nothing. The engine takes no more bytes. */
bool engine_leave(struct engine *engine);

/* Where to receive next, and how much; 0 bytes while replies must be sent first, or while a frame
 * waits for something. */
uint8_t *engine_receive_space(struct engine *engine, size_t *ret_len);

/* Says that len bytes were received there with these descriptors, which the engine takes over. Carries
 * out the frames. 0, or -EPROTO: send the pending bytes, then end the connection and tell the
 * fault. */
int engine_received(struct engine *engine, size_t len, const int *fds, unsigned num_fds);

/* The bytes to send next; no bytes: nothing. */
struct engine_output engine_pending(const struct engine *engine);
/* Says how much was sent; continues with frames that waited for room. As engine_received(). */
int engine_sent(struct engine *engine, size_t len);

/* Whether no reply and no whole frame waits. */
bool engine_is_settled(const struct engine *engine);

/* Says that something has happened besides the connection (a callback of the device has been):
 * continues with frames that waited for it. As engine_received(). */
int engine_poke(struct engine *engine);

/* For the owner of the connection between messages, which does not know the device. */
/* Has the device do the work that is due. Whether anything was done or more is due right now. */
bool engine_works(struct engine *engine);
/* Whether requests are carried out elsewhere, which needs a processor too. */
bool engine_has_io_in_flight(const struct engine *engine);
/* Whether something was put off that has to be done at once if the owner waits. */
bool engine_has_deferred_work(const struct engine *engine);
/* To be called before waiting. Whether there is something to do instead. */
bool engine_before_sleep(struct engine *engine);

/* For engine_ops.pump(): whether a message of len bytes can be sent now, leaving room for a reply;
 * if so engine_reply_room() and engine_reply() take it. */
bool engine_may_send(const struct engine *engine, size_t len);
/* For engine_ops.handle(): room for a reply, reply_limit bytes... */
uint8_t *engine_reply_room(struct engine *engine);
/* ...the length of the reply among them, with these descriptors on it; they must stay open as long as
 * the engine lives. */
void engine_reply(struct engine *engine, size_t len, const int *fds, unsigned num_fds);

extern const struct engine_ops mpqemu_engine;
extern const struct engine_ops vfio_user_engine;
extern const struct engine_ops vhost_user_engine;

#endif
