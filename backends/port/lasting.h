// SPDX-License-Identifier: BSD-3-Clause
/*
 * Lasting: the bytes of streams between a guest and sockets of the host, in memory that outlives the
 * process.
 *
 * Each slot has two rings, one for each direction. A ring's end at the socket moves with the kernel's own
 * count (os/counted.h), which is right whenever the process is killed. Its end at the guest moves with a
 * record, which is valid up to a number that the device commits together with the guest's queues. So a
 * byte between the two ends is in the ring, and no byte is lost, doubled or moved:
 *
 * - From the host: a byte that was received waits in the ring until the guest has it and that is
 *   committed. Only then its place is used again.
 * - To the host: the guest's bytes are committed before they are sent.
 *
 * The memory is a sealed memfd. The next process has one of its own, with the page for the kernel's
 * counts locked, and copies the bytes in flight. So it changes nothing of the process before, which may
 * have to continue after all.
 */
#ifndef OUTBOARD_PORT_LASTING_H
#define OUTBOARD_PORT_LASTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Bytes of the author's in a record. */
#define LASTING_RECORD 96u

struct lasting;

/* Sizes of rings, bytes. The first slots are large ones, the others small ones. */
struct lasting_sizes {
    uint32_t slots, large_slots;
    uint32_t large_in, large_out, small_in, small_out;
};

/* The stream of a slot. All positions count bytes from its begin. */
struct lasting_stream {
    struct lasting *lasting;
    uint32_t slot;
    uint64_t received; /* from the socket */
    uint64_t given;    /* of these, to the guest */
    uint64_t kept;     /* of these, in the record that was saved last */
    uint64_t put;      /* for the socket */
    uint64_t sent;     /* of these */
};

/* Makes the memory. Before the cell. 0 or a negative errno. */
int lasting_new(const struct lasting_sizes *sizes, struct lasting **ret_lasting);
/* NULL is fine. */
void lasting_free(struct lasting *lasting);
/* The memory's descriptor, which stays the callee's. */
int lasting_fd(const struct lasting *lasting);

/* Copies records up to this number, and the bytes in flight, from the memory of another process; fd stays
 * the caller's. 0, or -EINVAL for a file that can't be one. Streams with positions that can't be are left out. */
int lasting_adopt(struct lasting *lasting, int fd, uint64_t number);

/* One for each slot, as long as the memory. */
struct lasting_stream *lasting_stream(struct lasting *lasting, uint32_t slot);
/* The author's bytes of the record that lasting_adopt() has copied, or NULL. */
const void *lasting_adopted(const struct lasting_stream *stream);
/* Nothing was received and sent. */
void lasting_begin(struct lasting_stream *stream);
/* Writes the record, which counts from the commit of this number on; bytes: LASTING_RECORD of them. */
void lasting_save(struct lasting_stream *stream, const void *bytes, uint64_t number);

/* Receives into the ring. Bytes; 0: the end; -ENOBUFS: the ring is full until the next record; -EAGAIN; or
 * another negative errno. *ret_more: the socket may have more. */
ssize_t lasting_receive(struct lasting_stream *stream, int fd, bool *ret_more);
/* The first bytes, at most len, that were received and not given; two pieces at most. */
unsigned lasting_unread(const struct lasting_stream *stream, size_t len,
                        struct iovec ret_pieces[2]);
static inline size_t lasting_num_unread(const struct lasting_stream *stream)
{
    return (size_t)(stream->received - stream->given);
}
static inline void lasting_give(struct lasting_stream *stream, size_t len)
{
    stream->given += len;
}

/* Room for len more bytes to the socket; two pieces at most. 0: too many. */
unsigned lasting_room(const struct lasting_stream *stream, size_t len, struct iovec ret_pieces[2]);
static inline void lasting_put(struct lasting_stream *stream, size_t len)
{
    stream->put += len;
}
static inline size_t lasting_num_unsent(const struct lasting_stream *stream)
{
    return (size_t)(stream->put - stream->sent);
}
/* Sends bytes of the ring, which the caller has committed. How many, or a negative errno. */
ssize_t lasting_send(struct lasting_stream *stream, int fd);

#endif
