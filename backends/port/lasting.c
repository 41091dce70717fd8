// SPDX-License-Identifier: BSD-3-Clause
#include "port/lasting.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/closer.h"
#include "os/counted.h"

#define MAGIC 0x4c415354u
#define PAGE  4096u
#define NONE  UINT32_MAX

/* Each is one of the two copies of a record; the newest that is not above the committed number counts. */
struct record {
    uint64_t number; /* 0: none */
    uint64_t given, put;
    uint8_t bytes[LASTING_RECORD];
};

struct slot {
    uint64_t received, sent;
    struct record records[2];
};

/* Its pages are locked: the kernel writes counts there. */
struct head {
    uint32_t magic;
    struct lasting_sizes sizes;
    uint32_t receiving, sending; /* the slot whose bytes the last call counts, or NONE */
    struct counted counted;
};

struct layout {
    size_t slots, rings, len; /* offsets, and the whole */
};

/* Another process's memory, or ours. */
struct view {
    uint8_t *base;
    struct layout layout;
    const struct lasting_sizes *sizes;
};

struct lasting {
    int fd;
    struct lasting_sizes sizes;
    struct view view;
    struct head *head;
    struct lasting_stream *streams;
};

static size_t pages(size_t len)
{
    return (len + PAGE - 1) / PAGE * PAGE;
}

static size_t ring_at(const struct lasting_sizes *sizes, uint32_t slot)
{
    const size_t large = (size_t)sizes->large_in + sizes->large_out;
    const size_t small = (size_t)sizes->small_in + sizes->small_out;
    const uint32_t before = slot < sizes->large_slots ? slot : sizes->large_slots;
    return before * large + (slot - before) * small;
}

static struct layout lay_out(const struct lasting_sizes *sizes)
{
    struct layout layout = {.slots = pages(sizeof(struct head))};
    layout.rings = layout.slots + pages(sizes->slots * sizeof(struct slot));
    layout.len = layout.rings + pages(ring_at(sizes, sizes->slots));
    return layout;
}

static struct slot *slot_of(const struct view *view, uint32_t slot)
{
    return (struct slot *)(view->base + view->layout.slots) + slot;
}

static uint32_t in_size(const struct lasting_sizes *sizes, uint32_t slot)
{
    return slot < sizes->large_slots ? sizes->large_in : sizes->small_in;
}

static uint32_t out_size(const struct lasting_sizes *sizes, uint32_t slot)
{
    return slot < sizes->large_slots ? sizes->large_out : sizes->small_out;
}

static uint8_t *in_ring(const struct view *view, uint32_t slot)
{
    return view->base + view->layout.rings + ring_at(view->sizes, slot);
}

static uint8_t *out_ring(const struct view *view, uint32_t slot)
{
    return in_ring(view, slot) + in_size(view->sizes, slot);
}

/* Stores are not moved across each other. */
static void store64(uint64_t *to, uint64_t value)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void store32(uint32_t *to, uint32_t value)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* A call that meets an absent page loses its count, so the head's pages are locked. */
static int map(struct lasting *lasting)
{
    const struct layout *layout = &lasting->view.layout;
    AUTO_FD fd = memfd_create("outboard-streams", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)layout->len) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    uint8_t *base = mmap(NULL, layout->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    const void *locked = mmap(base, layout->slots, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_POPULATE | MAP_LOCKED | MAP_FIXED, fd, 0);
    if (locked == MAP_FAILED) {
        int err = -errno;
        munmap(base, layout->len);
        return err;
    }
    lasting->view.base = base;
    lasting->fd = take_fd(&fd);
    // cppcheck-suppress memleak ; the locked pages are those of base
    return 0;
}

int lasting_new(const struct lasting_sizes *sizes, struct lasting **ret_lasting)
{
    struct lasting *lasting = calloc(1, sizeof(*lasting));
    if (!lasting)
        return -ENOMEM;
    lasting->fd = -1;
    lasting->sizes = *sizes;
    lasting->view = (struct view){.layout = lay_out(sizes), .sizes = &lasting->sizes};
    lasting->streams = calloc(sizes->slots, sizeof(*lasting->streams));
    int err = lasting->streams ? map(lasting) : -ENOMEM;
    if (err < 0) {
        lasting_free(lasting);
        return err;
    }
    for (uint32_t i = 0; i < sizes->slots; i++)
        lasting->streams[i] = (struct lasting_stream){.lasting = lasting, .slot = i};
    lasting->head = (struct head *)lasting->view.base;
    lasting->head->sizes = *sizes;
    lasting->head->receiving = lasting->head->sending = NONE;
    lasting->head->magic = MAGIC;
    *ret_lasting = lasting;
    return 0;
}

void lasting_free(struct lasting *lasting)
{
    if (!lasting)
        return;
    if (lasting->view.base)
        munmap(lasting->view.base, lasting->view.layout.len);
    if (lasting->fd >= 0)
        close(lasting->fd);
    free(lasting->streams);
    free(lasting);
}

int lasting_fd(const struct lasting *lasting)
{
    return lasting->fd;
}

struct lasting_stream *lasting_stream(struct lasting *lasting, uint32_t slot)
{
    return &lasting->streams[slot];
}

/* --- another process's memory -------------------------------------------------------------- */

/* The copy that counts, or NULL. */
static const struct record *newest(const struct slot *slot, uint64_t number)
{
    const struct record *best = NULL;
    for (unsigned i = 0; i < 2; i++) {
        const struct record *record = &slot->records[i];
        if (record->number > 0 && record->number <= number &&
            (!best || record->number > best->number))
            best = record;
    }
    return best;
}

static void copy_ring(uint8_t *to, const uint8_t *from, uint32_t size, uint64_t begin, uint64_t end)
{
    for (uint64_t at = begin; at < end;) {
        const size_t place = (size_t)(at % size);
        const size_t here = end - at < size - place ? (size_t)(end - at) : size - place;
        memcpy(to + place, from + place, here);
        at += here;
    }
}

/* Positions of one slot, with the last calls counted. */
static void adopt_slot(struct lasting *lasting, const struct view *there, const struct head *head,
                       uint32_t number, uint64_t committed)
{
    struct lasting_stream *stream = &lasting->streams[number];
    const struct slot from = *slot_of(there, number);
    const struct record *record = newest(&from, committed);
    if (!record)
        return;
    const uint64_t received = head->receiving == number ? head->counted.rx.total : from.received;
    const uint64_t sent = head->sending == number ? head->counted.tx.total : from.sent;
    struct slot *to = slot_of(&lasting->view, number);
    const bool fits = record->given <= received && sent <= record->put &&
                      received - record->given <= in_size(&lasting->sizes, number) &&
                      record->put - sent <= out_size(&lasting->sizes, number);
    *to = (struct slot){.received = fits ? received : record->given,
                        .sent = fits ? sent : record->put};
    to->records[0] = *record;
    stream->received = to->received;
    stream->sent = to->sent;
    stream->given = stream->kept = record->given;
    stream->put = record->put;
    if (!fits) {
        to->records[0].number = 0;
        return;
    }
    copy_ring(in_ring(&lasting->view, number), in_ring(there, number),
              in_size(&lasting->sizes, number), record->given, received);
    copy_ring(out_ring(&lasting->view, number), out_ring(there, number),
              out_size(&lasting->sizes, number), sent, record->put);
}

/* The process has ended, or stands still: nothing changes there. */
static int adopt(struct lasting *lasting, const struct view *there, uint64_t number)
{
    struct ob_fault fault = {0};
    struct head *head = malloc(sizeof(*head)); /* a copy: nothing of the other's is written */
    if (!head)
        return -ENOMEM;
    memcpy(head, there->base, sizeof(*head));
    int err = -EINVAL;
    if (head->magic == MAGIC && memcmp(&head->sizes, &lasting->sizes, sizeof(head->sizes)) == 0) {
        head->counted.rx.header.msg_hdr.msg_controllen = 0; /* descriptors are not wanted */
        head->counted.rx.header.msg_hdr.msg_flags = 0;
        err = counted_settle(&head->counted, 0, &fault);
    }
    for (uint32_t i = 0; err == 0 && i < lasting->sizes.slots; i++)
        adopt_slot(lasting, there, head, i, number);
    free(head);
    return err;
}

int lasting_adopt(struct lasting *lasting, int fd, uint64_t number)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    const size_t len = lasting->view.layout.len;
    struct view there = lasting->view;
    struct stat status;
    int has = fcntl(fd, F_GET_SEALS);
    if (has < 0 || (has & seals) != seals || fstat(fd, &status) < 0 || status.st_size != (off_t)len)
        return -EINVAL;
    void *base = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    there.base = base;
    int err = adopt(lasting, &there, number);
    munmap(base, len);
    return err;
}

const void *lasting_adopted(const struct lasting_stream *stream)
{
    const struct record *record = &slot_of(&stream->lasting->view, stream->slot)->records[0];
    return record->number > 0 ? record->bytes : NULL;
}

/* --- records ------------------------------------------------------------------------------- */

/* The record that counts says that the slot is free, so no step between matters. */
void lasting_begin(struct lasting_stream *stream)
{
    struct slot *slot = slot_of(&stream->lasting->view, stream->slot);
    struct head *head = stream->lasting->head;
    if (head->receiving == stream->slot)
        store32(&head->receiving, NONE);
    if (head->sending == stream->slot)
        store32(&head->sending, NONE);
    slot->received = slot->sent = 0;
    stream->received = stream->given = stream->kept = stream->put = stream->sent = 0;
}

void lasting_save(struct lasting_stream *stream, const void *bytes, uint64_t number)
{
    struct slot *slot = slot_of(&stream->lasting->view, stream->slot);
    struct record *record =
        slot->records[0].number <= slot->records[1].number ? &slot->records[0] : &slot->records[1];
    store64(&record->number, 0);
    record->given = stream->given;
    record->put = stream->put;
    memcpy(record->bytes, bytes, LASTING_RECORD);
    store64(&record->number, number);
    stream->kept = stream->given;
}

/* --- bytes --------------------------------------------------------------------------------- */

static unsigned pieces_of(uint8_t *ring, uint32_t size, uint64_t at, size_t len,
                          struct iovec ret_pieces[2])
{
    const size_t place = (size_t)(at % size), room = size - place;
    const size_t here = len < room ? len : room;
    if (len == 0)
        return 0;
    ret_pieces[0] = (struct iovec){.iov_base = ring + place, .iov_len = here};
    ret_pieces[1] = (struct iovec){.iov_base = ring, .iov_len = len - here};
    return len > room ? 2 : 1;
}

static void close_all(struct received_fds *fds)
{
    for (unsigned i = 0; i < fds->count; i++)
        closer_close(fds->fd[i]);
}

ssize_t lasting_receive(struct lasting_stream *stream, int fd, bool *ret_more)
{
    const struct view *view = &stream->lasting->view;
    struct head *head = stream->lasting->head;
    struct slot *slot = slot_of(view, stream->slot);
    const uint32_t size = in_size(view->sizes, stream->slot);
    const size_t room = size - (size_t)(stream->received - stream->kept);
    struct received_fds fds;
    struct iovec pieces[2];
    *ret_more = true;
    if (pieces_of(in_ring(view, stream->slot), size, stream->received, room, pieces) == 0)
        return -ENOBUFS;
    store32(&head->receiving, NONE);
    head->counted.rx.total = slot->received;
    head->counted.rx.fd_total = 0;
    store32(&head->receiving, stream->slot);
    ssize_t got =
        counted_receive(&head->counted, 0, fd, pieces[0].iov_base, pieces[0].iov_len, &fds);
    if (got < 0)
        return got == -ENOTCONN ? 0 : got;
    close_all(&fds);
    store64(&slot->received, head->counted.rx.total);
    stream->received += (size_t)got;
    *ret_more = (size_t)got == pieces[0].iov_len;
    return got;
}

unsigned lasting_unread(const struct lasting_stream *stream, size_t len, struct iovec ret_pieces[2])
{
    const struct view *view = &stream->lasting->view;
    return pieces_of(in_ring(view, stream->slot), in_size(view->sizes, stream->slot), stream->given,
                     len, ret_pieces);
}

unsigned lasting_room(const struct lasting_stream *stream, size_t len, struct iovec ret_pieces[2])
{
    const struct view *view = &stream->lasting->view;
    const uint32_t size = out_size(view->sizes, stream->slot);
    if (len > size - lasting_num_unsent(stream))
        return 0;
    return pieces_of(out_ring(view, stream->slot), size, stream->put, len, ret_pieces);
}

ssize_t lasting_send(struct lasting_stream *stream, int fd)
{
    const struct view *view = &stream->lasting->view;
    struct head *head = stream->lasting->head;
    struct slot *slot = slot_of(view, stream->slot);
    struct iovec pieces[2];
    if (pieces_of(out_ring(view, stream->slot), out_size(view->sizes, stream->slot), stream->sent,
                  lasting_num_unsent(stream), pieces) == 0)
        return 0;
    store32(&head->sending, NONE);
    head->counted.tx.total = slot->sent;
    store32(&head->sending, stream->slot);
    ssize_t sent = counted_send(&head->counted, fd, pieces[0].iov_base, pieces[0].iov_len, NULL, 0);
    if (sent < 0)
        return sent;
    store64(&slot->sent, head->counted.tx.total);
    stream->sent += (size_t)sent;
    return sent;
}
