// SPDX-License-Identifier: BSD-3-Clause
/*
 * Session: many streams over one two-way byte channel, with no deadlock and no doubt.
 *
 * The channel may be a virtio-serial port, a serial line, vsock, a socket, a pair of pipes. The
 * engine does no I/O and has no clock: the caller carries bytes between it and the channel and
 * passes the time. The wire is specified in docs/session-protocol.md.
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
 * Both ends are alike: none is client or server, either opens streams.
 *
 * Events are callbacks. They come only from ob_session_receive(), ob_session_receive_lent(),
 * ob_session_next_readable(), ob_session_transmitted(), ob_session_tick(),
 * ob_session_transport_up(), ob_session_transport_down() and ob_session_end(); never from an
 * ob_stream function. A callback may call every function of this header but those eight and
 * ob_session_free() and ob_session_transmit().
 *
 * Which streams can be read is told by the callback `readable`, frame by frame, or is asked with
 * ob_session_next_readable() after all bytes have been taken. The second way is the faster one:
 * the bytes of many frames of a stream are read at once, and with ob_session_receive_lent() without
 * a copy, too.
 *
 * A stream handle is like a descriptor: whatever happens to the stream or to the session, it stays
 * valid until its owner calls ob_stream_free(). The owner is who called ob_stream_open(), or who
 * took it in the `incoming` callback.
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

/* Shortest and longest pre-shared key, bytes. Who sees a handshake can try keys at leisure, so a
 * key that a person can remember is too short: take 32 random bytes. */
#define OB_SESSION_KEY_MIN 8
#define OB_SESSION_KEY_MAX 256

/* The kind of the channel, which selects the framing. Both ends must have the same. */
enum ob_channel {
    /*
     * It begins and ends with the peer's life, and loses nothing in between: a connected socket,
     * vsock, a pipe. A peer that breaks the framing is disconnected (-EPROTO).
     */
    OB_CHANNEL_STREAM,
    /*
     * It promises nothing: a serial line, a virtio-serial port, a socket behind which a VMM keeps
     * such a port. Stale bytes, half frames, losses and restarted peers are recognised; the
     * session ends, and the engine hunts for the peer's next HELLO. It never gives up.
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
    /* A session stands. Its tag is the same number at both ends, and never that of another one. */
    void (*up)(void *user, uint64_t tag);
    /*
     * The session that stood is over: every stream has had its `reset` before this, with the same
     * reason. Or, with OB_REASON_KEY or OB_REASON_VERSION: none came to stand.
     */
    void (*ended)(void *user, uint32_t reason);
    /* The peer accepts no more streams from us; open streams continue. */
    void (*going_away)(void *user, uint32_t reason);
    /* The answer to ob_session_ping(). */
    void (*pong)(void *user, uint64_t round_trip_ns);
    /*
     * The peer opened a stream: answer with ob_stream_accept() or ob_stream_refuse(), now or
     * later. The handle is ours to free from here on.
     */
    void (*incoming)(void *user, struct ob_stream *stream, const struct ob_open *open);
    /* The peer accepted our stream. */
    void (*opened)(void *user, struct ob_stream *stream);
    /* The peer refused our stream, which is over. */
    void (*refused)(void *user, struct ob_stream *stream, uint32_t reason);
    /*
     * There was nothing to read and now there is: bytes, or the end of the peer's direction. Not
     * repeated before everything was consumed, but once when the end comes behind unread bytes
     * (`ended` of ob_stream_stats()); so peek and consume until peek says -EAGAIN or 0, or until
     * there is no room for more, and continue when there is room. If this callback is NULL,
     * ob_session_next_readable() gives the stream instead.
     */
    void (*readable)(void *user, struct ob_stream *stream);
    /*
     * ob_stream_write() took less than was offered and would now take some; or all that was lent
     * by ob_stream_lend() is sent and that memory is the caller's again.
     */
    void (*writable)(void *user, struct ob_stream *stream);
    /*
     * The peer's application has read all that we sent, up to our end: ob_stream_shutdown() was
     * called. Comes at most once, and only while the peer has not ended its own direction.
     */
    void (*finished)(void *user, struct ob_stream *stream);
    /*
     * The stream is over before its end: the peer reset it, memory ran out, or the session ended.
     * Lent buffers are the caller's again. Only ob_stream_free() is useful now.
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
     * Where nonces and challenges come from, asked whenever one is needed and never ahead: fill
     * @bytes with @len unpredictable bytes, return 0 or a negative errno. Required: getrandom() in
     * programs, a seeded generator in simulations. A process whose memory may be resumed twice
     * (a snapshot of its virtual machine) must not keep such bytes; the kernel doesn't, where the
     * machine has a VMGENID device.
     */
    int (*random)(void *user, void *bytes, size_t len);

    uint32_t window;      /* bytes that a stream may hold unread here [256 KiB, 1 B to 64 MiB] */
    uint32_t send_buffer; /* bytes that ob_stream_write() keeps per stream [64 KiB, to 64 MiB] */
    uint32_t max_streams; /* that the peer may have at a time [1024, to 65536] */

    const void *key; /* pre-shared key, copied; NULL: no authentication */
    size_t key_len;  /* OB_SESSION_KEY_MIN to OB_SESSION_KEY_MAX */
    /*
     * This end listens for others to connect. With a key, a peer that says the same is refused, or
     * somebody without the key could connect two such ends with each other.
     */
    bool listens;

    /*
     * Silence of the peer, nanoseconds; 0 for both: silence alone never ends a session, since a
     * paused VM is silent. Time during which this process did not run does not count.
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
 * The channel is there (again): begin a new life with a new nonce and greet the peer. A session
 * that still stood ends first, with OB_REASON_TRANSPORT.
 *
 * @now_ns: monotonic time in nanoseconds; any origin, but one origin per engine.
 *
 * Returns 0 or the error of the configured random(); then the channel counts as down.
 */
OB_API int ob_session_transport_up(struct ob_session *session, uint64_t now_ns);

/* The channel is gone: the session ends with OB_REASON_TRANSPORT, unsent bytes are dropped. */
OB_API void ob_session_transport_down(struct ob_session *session, uint64_t now_ns);

/**
 * End the session on purpose: its streams are reset here (with @reason) and, once the farewell
 * has been transmitted, there (likewise). Nothing comes after it until ob_session_transport_up().
 * An orderly end is: ob_session_go_away(), wait until the streams are done, this with
 * OB_REASON_NONE, transmit until ob_session_has_output() is false.
 */
OB_API void ob_session_end(struct ob_session *session, uint32_t reason, uint64_t now_ns);

/**
 * Take bytes that the channel gave. Takes all of them, always: reading the channel never has to
 * wait for anything.
 *
 * @bytes:  read during the call only.
 * @len:    how many; large reads (256 KiB) are the fastest, any number works.
 *
 * Returns 0; or, on OB_CHANNEL_STREAM, a negative errno that says why the channel has to be
 * closed: -EPROTO (the peer broke the rules), -EACCES (wrong key), -EPROTONOSUPPORT (another
 * version). The session has then ended, ob_session_fault() says more, ob_session_transmit() may
 * still give a farewell, and further bytes are ignored. Never fails on OB_CHANNEL_LINE.
 */
OB_API int ob_session_receive(struct ob_session *session, const void *bytes, size_t len,
                              uint64_t now_ns);

/**
 * Take bytes as ob_session_receive() does, but leave them to the streams where they lie.
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
 * Give a stream that there is something to read from, each one once: when there was nothing to
 * read and now there is, as the callback `readable` says, which must be NULL in the configuration.
 *
 *   while ((stream = ob_session_next_readable(session)))
 *       read(stream);
 *
 * Returns the stream, or NULL when there is no other one. Before NULL is returned, bytes that were
 * lent by ob_session_receive_lent() and not consumed are copied, and a stream is reset if there is
 * no memory for that (`reset` tells).
 */
OB_API struct ob_stream *ob_session_next_readable(struct ob_session *session);

/* Whether ob_session_transmit() would give bytes. Ask after every call. */
OB_API bool ob_session_has_output(const struct ob_session *session);

/**
 * Give the next bytes for the channel: frame headers, and payload where it lies.
 *
 * @iov:     filled with up to @iov_max spans, which stay valid until the next call of any function
 *           on this session or its streams. 64 spans are plenty; at least 2.
 * @iov_max: how many fit.
 *
 * Returns how many spans were filled, 0 when there is nothing to send. Write as much of them as the
 * channel takes at once, then report it, before anything else, with ob_session_transmitted(). (If
 * the channel turns out to be gone, ob_session_transport_down() will do as well.)
 */
OB_API int ob_session_transmit(struct ob_session *session, struct iovec *iov, int iov_max,
                               uint64_t now_ns);

/* @len: bytes of the last ob_session_transmit() that the channel took; 0 and negative mean none. */
OB_API void ob_session_transmitted(struct ob_session *session, ssize_t len);

/* When ob_session_tick() wants to be called: a time, maybe past, or OB_SESSION_NEVER. */
OB_API uint64_t ob_session_deadline(const struct ob_session *session);

/* Do the work that is due: repeat a greeting, probe a line, count silence. Early calls do no harm.
 * */
OB_API void ob_session_tick(struct ob_session *session, uint64_t now_ns);

/* Accept no more streams from the peer, and notify it. Open streams continue. */
OB_API void ob_session_go_away(struct ob_session *session, uint32_t reason);

/* Measure the round trip: `pong` tells. Returns 0, -ENOTCONN (no session), -EBUSY (one is out). */
OB_API int ob_session_ping(struct ob_session *session, uint64_t now_ns);

/* Whether a session stands, and its tag (0 when none does). */
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
 * Writing may begin at once; it is held until the peer accepts. `opened`, `refused` or `reset`
 * tells how it went.
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
 * @ret_bytes: the first of them; valid until the next ob_stream_consume(), ob_stream_read() or
 *             ob_stream_free() on this stream, or until the callback returns, or until
 *             ob_session_next_readable() returns NULL. Inside `readable`, and after
 *             ob_session_receive_lent(), it mostly points into the received bytes, without a copy.
 *
 * Returns how many bytes lie there (more may follow behind), 0 at the end of the stream (the peer
 * has shut its direction and all was consumed), -EAGAIN (nothing now; `readable` will tell) or
 * -ECONNRESET (it is over; ob_stream_reason() says why).
 */
OB_API ssize_t ob_stream_peek(struct ob_stream *stream, const void **ret_bytes);

/**
 * Look at received bytes wherever they lie, for writev(2).
 *
 * @iov:     filled with up to @iov_max spans, in order; valid as ob_stream_peek() says.
 * @iov_max: how many fit, at least 1.
 *
 * Returns how many spans were filled (more bytes may follow behind), or 0, -EAGAIN and -ECONNRESET
 * as ob_stream_peek() does.
 */
OB_API int ob_stream_peek_spans(struct ob_stream *stream, struct iovec *iov, int iov_max);

/* Consume @len bytes that peek showed, and give the peer the same amount of credit. */
OB_API void ob_stream_consume(struct ob_stream *stream, size_t len);

/* Peek, copy and consume: read(2) with the results of ob_stream_peek(). */
OB_API ssize_t ob_stream_read(struct ob_stream *stream, void *bytes, size_t len);

/**
 * Send bytes: they are copied into the stream's send buffer, as many as there is room for.
 *
 * Returns how many were taken, less than @len when the buffer is full (`writable` will tell),
 * -EPIPE (after ob_stream_shutdown()), -EBUSY (while memory is lent), -ECONNRESET (over),
 * -EINVAL (no bytes) or -ENOMEM (nothing was taken).
 */
OB_API ssize_t ob_stream_write(struct ob_stream *stream, const void *bytes, size_t len);

/**
 * Send bytes from where they lie, without a copy. They must stay there unchanged until `writable`
 * or `reset` comes, or until ob_stream_free() returns.
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
 * Give a stream up. If both directions had their end (ob_stream_shutdown() called, peek says 0)
 * this is an orderly close: written bytes that were not lent are still sent. In every other case
 * the stream is reset and the peer learns @reason; OB_REASON_NONE then reads OB_REASON_CANCELLED.
 * The handle is dead afterwards, and lent buffers are the caller's. NULL is allowed.
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

/* Why it is over; OB_REASON_NONE while it is not. */
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
