// SPDX-License-Identifier: BSD-3-Clause
/*
 * Session: many streams over one two-way byte channel.
 *
 * The channel may be a virtio-serial port, a serial line, vsock, a socket, or a pair of pipes. The
 * engine does no I/O and has no clock: the caller moves bytes between it and the channel, and
 * passes the time. docs/session-protocol.md specifies the wire.
 *
 *   while (running) {
 *       poll(channel: readable; writable if ob_session_has_output();
 *            until ob_session_deadline());
 *       if (readable)   ob_session_receive(session, bytes, len, now);
 *       if (deadline)   ob_session_tick(session, now);
 *       if (writable) { n = ob_session_transmit(session, iov, IOVS, now);
 *                       ob_session_transmitted(session, writev(fd, iov, n)); }
 *   }
 *
 * Both ends are equal: each of them can open streams.
 *
 * Events are callbacks. They run only inside ob_session_receive(), ob_session_receive_lent(),
 * ob_session_next_readable(), ob_session_transmitted(), ob_session_tick(),
 * ob_session_transport_up(), ob_session_transport_down() and ob_session_end(); never inside an
 * ob_stream function. A callback may call every function of this header except those eight,
 * ob_session_free() and ob_session_transmit().
 *
 * There are two ways to find the readable streams: the callback `readable`, for each frame, or
 * ob_session_next_readable(), after all bytes were received. The second way is faster, because it
 * reads the bytes of many frames of a stream at once. With ob_session_receive_lent() it also needs
 * no copy.
 *
 * A stream handle is like a descriptor: it stays valid until its owner calls ob_stream_free(), even
 * if the stream or the session ends. The owner is the caller of ob_stream_open(), or the
 * application that got the handle in the `incoming` callback.
 *
 * A session and its streams belong to one thread at a time. Different sessions are independent.
 */
#ifndef OUTBOARD_SESSION_H
#define OUTBOARD_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <outboard/api.h>
#include <outboard/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ob_session;
struct ob_stream;

/* "Never" as a point in time, and as a timeout that is off. */
#define OB_SESSION_NEVER UINT64_MAX

/* Longest service name and longest metadata of an OPEN, bytes. */
#define OB_SESSION_SERVICE_MAX  255
#define OB_SESSION_METADATA_MAX 1024

/* Shortest and longest pre-shared key, bytes. An attacker who sees a handshake can try keys
 * offline, so a memorable key is too short: use 32 random bytes. */
#define OB_SESSION_KEY_MIN 8
#define OB_SESSION_KEY_MAX 256

/* The kind of the channel, which selects the framing. Both ends must have the same. */
enum ob_channel {
    /*
     * It begins and ends with the peer, and loses no bytes: a connected socket, vsock, a pipe. A
     * peer that breaks the framing is disconnected (-EPROTO).
     */
    OB_CHANNEL_STREAM,
    /*
     * It has no guarantee: a serial line, a virtio-serial port, a socket behind which a VMM keeps
     * such a port. The engine detects stale bytes, partial frames, losses and restarted peers. It
     * then ends the session, and waits for the peer's next HELLO without a time limit.
     */
    OB_CHANNEL_LINE,
};

/* Why a stream or a session ended, or a stream was refused. The numbers are those of the wire. */
enum ob_reason {
    OB_REASON_NONE = 0,        /* an orderly end */
    OB_REASON_CANCELLED = 1,   /* the owner of the other end freed the stream before its end */
    OB_REASON_NO_SERVICE = 2,  /* no service has this name */
    OB_REASON_FORBIDDEN = 3,   /* the service exists, but not for this peer */
    OB_REASON_UNREACHABLE = 4, /* the service's destination does not answer or refuses */
    OB_REASON_FAILED = 5,      /* the service's destination broke the connection */
    OB_REASON_BUSY = 6,        /* too many streams */
    OB_REASON_NO_MEMORY = 7,
    OB_REASON_TIMEOUT = 8,
    OB_REASON_SHUTDOWN = 9, /* the end is going away on purpose */
    /* Reasons of a session's end; its streams are reset with the same reason. */
    OB_REASON_TRANSPORT = 16, /* the channel went away: ob_session_transport_down() */
    OB_REASON_RESTARTED = 17, /* the peer began a new life */
    OB_REASON_CORRUPT = 18,   /* line only: a frame arrived damaged, or frames are missing */
    OB_REASON_PROTOCOL = 19,  /* the peer broke the rules */
    OB_REASON_KEY = 20,       /* the peer could not prove that it has the key, or lacks it */
    OB_REASON_VERSION = 21,   /* the peer speaks another version of the protocol */
    OB_REASON_TAKEN = 22,     /* another end has the channel, or has taken it */
    /* From here on the applications give the numbers their meaning. */
    OB_REASON_APPLICATION = 0x10000,
};

/* A reason in a few words, for logs; never NULL. Any thread. */
OB_API const char *ob_reason_text(uint32_t reason);

/* The content of an incoming OPEN. Neither text ends in a NUL; both are gone after the callback. */
struct ob_open {
    const char *service;
    size_t service_len;
    const void *metadata;
    size_t metadata_len;
};

/*
 * Events for the application. Any may be NULL; without `incoming` every OPEN is refused with
 * OB_REASON_NO_SERVICE. `user` is that of the configuration.
 */
struct ob_session_events {
    /* A session is established. Both ends have the same tag, and no other session has it. */
    void (*up)(void *user, uint64_t tag);
    /*
     * The session has ended. Every stream has had its `reset` before this, with the same reason.
     * With OB_REASON_KEY or OB_REASON_VERSION, no session was established.
     */
    void (*ended)(void *user, uint32_t reason);
    /* The peer accepts no more streams from us; open streams continue. */
    void (*going_away)(void *user, uint32_t reason);
    /* The answer to ob_session_ping(). */
    void (*pong)(void *user, uint64_t round_trip_ns);
    /*
     * The peer opened a stream: answer with ob_stream_accept() or ob_stream_refuse(), now or later.
     * The application owns the handle and frees it.
     */
    void (*incoming)(void *user, struct ob_stream *stream, const struct ob_open *open);
    /* The peer accepted our stream. */
    void (*opened)(void *user, struct ob_stream *stream);
    /* The peer refused our stream, which is over. */
    void (*refused)(void *user, struct ob_stream *stream, uint32_t reason);
    /*
     * The stream has become readable: bytes, or the end of the peer's direction. It is called again
     * only after all bytes were consumed, or when the end arrives behind unread bytes (`ended` of
     * ob_stream_stats()). Therefore peek and consume until peek returns -EAGAIN or 0, or until you
     * have no more room; continue when you have room. If this callback is NULL,
     * ob_session_next_readable() returns the stream instead.
     */
    void (*readable)(void *user, struct ob_stream *stream);
    /*
     * ob_stream_write() took less than was offered, and there is room again. Or all lent bytes of
     * ob_stream_lend() were sent, and their memory is the caller's again.
     */
    void (*writable)(void *user, struct ob_stream *stream);
    /*
     * The peer's application has read all that we sent, up to our end: ob_stream_shutdown() was
     * called. Comes at most once, and only while the peer has not ended its own direction.
     */
    void (*finished)(void *user, struct ob_stream *stream);
    /*
     * The stream has ended early: the peer reset it, memory ran out, or the session ended. Lent
     * buffers are the caller's again. Only ob_stream_free() is useful now.
     */
    void (*reset)(void *user, struct ob_stream *stream, uint32_t reason);
    void (*reserved[8])(void); /* NULL */
};

/* Zero it, then set its size and other fields; 0 means the default in brackets. */
struct ob_session_config {
    size_t size; /* sizeof(struct ob_session_config) */
    enum ob_channel channel;
    struct ob_session_events events;
    void *user; /* given to the callbacks */

    /*
     * The source of nonces and challenges: fill @bytes with @len unpredictable bytes, and return 0
     * or a negative errno. The engine calls it when it needs the bytes, never in advance. Required:
     * getrandom() in programs, a seeded generator in simulations. A virtual machine may be resumed
     * twice from one snapshot, so a process must not keep such bytes. The kernel keeps none if the
     * machine has a VMGENID device.
     */
    int (*random)(void *user, void *bytes, size_t len);

    uint32_t window;      /* bytes that a stream may hold unread here [256 KiB, 1 B to 64 MiB] */
    uint32_t send_buffer; /* bytes that ob_stream_write() keeps per stream [64 KiB, to 64 MiB] */
    uint32_t max_streams; /* that the peer may have at a time [1024, to 65536] */

    const void *key; /* pre-shared key, copied; NULL: no authentication */
    size_t key_len;  /* OB_SESSION_KEY_MIN to OB_SESSION_KEY_MAX */
    /*
     * This end accepts connections. With a key, a peer that also sets this is refused. Otherwise an
     * attacker without the key could connect two such ends with each other.
     */
    bool listens;

    /*
     * Silence of the peer, nanoseconds. If both are 0, silence never ends a session, since a paused
     * VM is silent. Time during which this process did not run does not count.
     */
    uint64_t keepalive_ns;    /* after this much silence send a PING */
    uint64_t idle_timeout_ns; /* after this much end the session with OB_REASON_TIMEOUT */
};

/**
 * Make an engine. Its channel is down: nothing is sent before ob_session_transport_up().
 *
 * @config:      copied, the key too.
 * @ret_session: the engine; untouched on failure.
 *
 * Returns 0, -EINVAL (no size, a value out of its bounds, no random, a key_len without a key),
 * -E2BIG (fields that this library does not know, api.h) or -ENOMEM.
 */
OB_API int ob_session_new(const struct ob_session_config *config, struct ob_session **ret_session);

/**
 * Free an engine and all of its streams: their handles are dead. No callback is called. Lent
 * buffers are the caller's again. NULL is allowed.
 */
OB_API void ob_session_free(struct ob_session *session);

/**
 * The channel is open: take a new nonce and greet the peer. An established session ends first, with
 * OB_REASON_TRANSPORT.
 *
 * @now_ns: monotonic time in nanoseconds; any origin, but one origin per engine.
 *
 * Returns 0 or the error of the configured random(); then the channel counts as down.
 */
OB_API int ob_session_transport_up(struct ob_session *session, uint64_t now_ns);

/* The channel is gone: the session ends with OB_REASON_TRANSPORT, unsent bytes are dropped. */
OB_API void ob_session_transport_down(struct ob_session *session, uint64_t now_ns);

/**
 * End the session. Its streams are reset with @reason, here and, once the farewell has been
 * transmitted, at the peer. Nothing is sent after it until ob_session_transport_up(). For an
 * orderly end, call ob_session_go_away() and wait until the streams have ended. Then call this with
 * OB_REASON_NONE, and transmit until ob_session_has_output() is false.
 */
OB_API void ob_session_end(struct ob_session *session, uint32_t reason, uint64_t now_ns);

/**
 * Pass received bytes to the engine, which takes all of them. Reading the channel therefore never
 * has to wait.
 *
 * @bytes:  read during the call only.
 * @len: their number; large reads (256 KiB) are the fastest, any number works.
 *
 * Returns 0. On OB_CHANNEL_STREAM a negative errno means that the channel must be closed: -EPROTO
 * (the peer broke the rules), -EACCES (wrong key), -EPROTONOSUPPORT (another version). The session
 * has then ended, and ob_session_fault() has the details. ob_session_transmit() may still return a
 * farewell, and further bytes are ignored. Never fails on OB_CHANNEL_LINE.
 */
OB_API int ob_session_receive(struct ob_session *session, const void *bytes, size_t len,
                              uint64_t now_ns);

/**
 * Pass received bytes as ob_session_receive() does, without a copy: the streams refer to them in
 * the caller's buffer.
 *
 * @bytes: must stay there unchanged until ob_session_next_readable() has returned NULL or, if that
 *         comes first, until ob_session_transport_down() or ob_session_free() has returned. Call
 *         neither receive function before that.
 *
 * Returns as ob_session_receive() does.
 */
OB_API int ob_session_receive_lent(struct ob_session *session, const void *bytes, size_t len,
                                   uint64_t now_ns);

/**
 * Get the next readable stream. Each stream comes once when it becomes readable, like the callback
 * `readable`, which must be NULL in the configuration.
 *
 *   while ((stream = ob_session_next_readable(session)))
 *       read(stream);
 *
 * Returns the stream, or NULL when there is no other one. Before it returns NULL, it copies lent
 * bytes that were not consumed. If there is no memory for that, it resets the stream, and `reset`
 * is called.
 */
OB_API struct ob_stream *ob_session_next_readable(struct ob_session *session);

/* Returns true if ob_session_transmit() would return bytes. Ask after every call. */
OB_API bool ob_session_has_output(const struct ob_session *session);

/**
 * Get the next bytes for the channel: frame headers, and payload without a copy.
 *
 * @iov:     filled with up to @iov_max spans, which stay valid until the next call of any function
 *           on this session or its streams. 64 spans are plenty; at least 2.
 * @iov_max: how many fit.
 *
 * Returns the number of spans that were filled, 0 when there is nothing to send. Write as many of
 * their bytes as the channel takes at once. Then call ob_session_transmitted() before any other
 * function. If the channel has ended, call ob_session_transport_down() instead.
 */
OB_API int ob_session_transmit(struct ob_session *session, struct iovec *iov, int iov_max,
                               uint64_t now_ns);

/* @len: bytes of the last ob_session_transmit() that the channel took; 0 and negative mean none. */
OB_API void ob_session_transmitted(struct ob_session *session, ssize_t len);

/* The time at which to call ob_session_tick(): maybe past, or OB_SESSION_NEVER. */
OB_API uint64_t ob_session_deadline(const struct ob_session *session);

/* Do the work that is due: repeat a greeting, probe a line, count silence. Early calls do no harm.
 * */
OB_API void ob_session_tick(struct ob_session *session, uint64_t now_ns);

/* Accept no more streams from the peer, and notify it. Open streams continue. */
OB_API void ob_session_go_away(struct ob_session *session, uint32_t reason);

/* Measure the round trip; `pong` gets it. Returns 0, -ENOTCONN (no session), -EBUSY (a PING is
 * unanswered). */
OB_API int ob_session_ping(struct ob_session *session, uint64_t now_ns);

/* The tag of the established session, or 0. */
OB_API uint64_t ob_session_tag(const struct ob_session *session);

/* The last fault; never NULL, code 0 if there was no fault. */
OB_API const struct ob_fault *ob_session_fault(const struct ob_session *session);

struct ob_session_stats {
    uint64_t bytes_received;    /* from the channel */
    uint64_t bytes_transmitted; /* to the channel */
    uint64_t frames_received;
    uint64_t frames_transmitted;
    uint64_t frames_dropped;  /* of another session, or of a stream that is over */
    uint64_t frames_damaged;  /* line only: frames, or noise between two frames */
    uint64_t sessions;        /* that stood so far */
    uint64_t round_trip_ns;   /* of the last PING that was answered; 0: none yet */
    uint64_t buffered_bytes;  /* memory for received and unsent data of all streams, now */
    uint32_t streams;         /* handles, now */
    uint32_t streams_blocked; /* that have data to send but no credit, now */
    uint64_t reserved[8];     /* 0 */
};

OB_API void ob_session_stats(const struct ob_session *session, struct ob_session_stats *ret_stats);

/**
 * Open a stream.
 *
 * @service:  name, not empty; the peer defines its meaning.
 * @metadata: bytes for the peer's application, NULL when @metadata_len is 0.
 *
 * Writing may begin at once; the bytes are held until the peer accepts. Then `opened`, `refused` or
 * `reset` is called.
 *
 * Returns 0, -ENOTCONN (no session), -EINVAL (a length, bytes that are not there), -ESHUTDOWN (the
 * peer is going away), -EAGAIN (the peer takes no more streams for now) or -ENOMEM.
 */
OB_API int ob_stream_open(struct ob_session *session, const char *service, size_t service_len,
                          const void *metadata, size_t metadata_len, struct ob_stream **ret_stream);

/**
 * Accept a stream that the peer opened. It can be read and written from then on.
 *
 * Returns 0, -EALREADY (answered before) or -ECONNRESET (it is over).
 */
OB_API int ob_stream_accept(struct ob_stream *stream);

/* Refuse a stream that the peer opened and was not answered, and free it. */
OB_API void ob_stream_refuse(struct ob_stream *stream, uint32_t reason);

/**
 * Look at received bytes without consuming them.
 *
 * @ret_bytes: the first of them. They are valid until the next ob_stream_consume(),
 *             ob_stream_read() or ob_stream_free() on this stream, until the callback returns, or
 *             until ob_session_next_readable() returns NULL. Inside `readable`, and after
 *             ob_session_receive_lent(), the pointer mostly leads into the received bytes, without
 *             a copy.
 *
 * Returns the number of bytes there; more may follow behind. Returns 0 at the end of the stream:
 * the peer has shut its direction down and all bytes were consumed. Errors: -EAGAIN (no bytes now;
 * `readable` will be called) or -ECONNRESET (the stream has ended; ob_stream_reason() has the
 * reason).
 */
OB_API ssize_t ob_stream_peek(struct ob_stream *stream, const void **ret_bytes);

/**
 * Look at received bytes wherever they lie, for writev(2).
 *
 * @iov:     filled with up to @iov_max spans, in order; valid as ob_stream_peek() says.
 * @iov_max: how many fit, at least 1.
 *
 * Returns the number of spans that were filled (more bytes may follow behind), or 0, -EAGAIN and
 * -ECONNRESET as ob_stream_peek() does.
 */
OB_API int ob_stream_peek_spans(struct ob_stream *stream, struct iovec *iov, int iov_max);

/* Consume @len bytes that peek showed, and give the peer the same amount of credit. */
OB_API void ob_stream_consume(struct ob_stream *stream, size_t len);

/* Peek, copy and consume: read(2) with the results of ob_stream_peek(). */
OB_API ssize_t ob_stream_read(struct ob_stream *stream, void *bytes, size_t len);

/**
 * Copy bytes into the stream's send buffer, as many as there is room for.
 *
 * Returns the number of bytes taken, less than @len when the buffer is full (`writable` will be
 * called), -EPIPE (after ob_stream_shutdown()), -EBUSY (while memory is lent), -ECONNRESET (the
 * stream has ended), -EINVAL (no bytes) or -ENOMEM (no bytes were taken).
 */
OB_API ssize_t ob_stream_write(struct ob_stream *stream, const void *bytes, size_t len);

/**
 * Send bytes without a copy. They must stay there unchanged until `writable` or `reset` is called,
 * or until ob_stream_free() returns.
 *
 * @len: at least 1; need not fit the peer's credit.
 *
 * Returns 0, -EAGAIN (earlier bytes are still on their way; `writable` will tell), -EINVAL (@len
 * is 0), -EPIPE or -ECONNRESET as ob_stream_write() does. Never allocates.
 */
OB_API int ob_stream_lend(struct ob_stream *stream, const void *bytes, size_t len);

/**
 * Send the end of our direction after all written bytes (half-close). The other direction
 * continues. Another call has no effect.
 *
 * Returns 0 or -ECONNRESET.
 */
OB_API int ob_stream_shutdown(struct ob_stream *stream);

/**
 * Reset a stream and free its handle. If both directions have ended (ob_stream_shutdown() was
 * called, and peek returned 0), this is an orderly close. Written bytes that were not lent are then
 * still sent. Otherwise the stream is reset and the peer gets @reason, or OB_REASON_CANCELLED
 * instead of OB_REASON_NONE. Lent buffers are the caller's again. NULL is allowed.
 */
OB_API void ob_stream_reset(struct ob_stream *stream, uint32_t reason);

/* ob_stream_reset() with OB_REASON_NONE, like close(2) of a descriptor. */
OB_API void ob_stream_free(struct ob_stream *stream);

/* The application's own pointer, NULL at first. */
OB_API void *ob_stream_user(const struct ob_stream *stream);
OB_API void ob_stream_set_user(struct ob_stream *stream, void *user);

/* The session to which it belongs, or belonged. */
OB_API struct ob_session *ob_stream_session(const struct ob_stream *stream);

/* Its number on the wire: unique within its session. */
OB_API uint64_t ob_stream_id(const struct ob_stream *stream);

/* The reason of its end; OB_REASON_NONE while it has not ended. */
OB_API uint32_t ob_stream_reason(const struct ob_stream *stream);

struct ob_stream_stats {
    uint64_t bytes_received; /* payload, in all */
    uint64_t bytes_sent;     /* payload, in all; handed to the channel */
    uint64_t unread;         /* received and not consumed */
    uint64_t unsent;         /* written or lent and not yet handed to the channel */
    uint64_t credit;         /* bytes that the peer would take now */
    uint64_t window;         /* bytes that we would take now */
    uint64_t ended;       /* 1: the peer has ended its direction; nothing comes behind `unread` */
    uint64_t reserved[3]; /* 0 */
};

OB_API void ob_stream_stats(const struct ob_stream *stream, struct ob_stream_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
