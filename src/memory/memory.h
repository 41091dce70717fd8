// SPDX-License-Identifier: BSD-3-Clause
/*
 * Guest memory: regions that the VMM shares by descriptor, and the way from a guest address to
 * bytes.
 *
 * A struct memory is an ordered set of regions that do not overlap, kept in a struct region_index,
 * so that tens of thousands of them cost a logarithm. Regions are counted: the set holds one
 * reference, each mapped span another. Replacing the set therefore never pulls memory from under
 * I/O in flight: the mapping goes with the last span. A region that the VMM names again, same file,
 * same place, is kept as it is, so that spans on it stay current.
 *
 * A region may have no descriptor: the VMM tells where memory is but not how to get at it. Copies
 * and mappings that meet such a region end with -EREMOTE; the wire has to ask the VMM.
 *
 * Mapping a descriptor is the operating system's business and comes in as a struct memory_host.
 */
#ifndef OUTBOARD_MEMORY_MEMORY_H
#define OUTBOARD_MEMORY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/dma.h>
#include <outboard/fault.h>

#include "memory/dirty.h"
#include "memory/region_index.h"

#define MEMORY_PAGE 4096u

/* A file's identity, so that the same memory is known again under another descriptor. */
struct memory_file {
    uint64_t device;
    uint64_t inode;
};

struct memory_host {
    /* Maps len bytes of fd from offset. Returns 0, -EOVERFLOW when the file is shorter than that,
     * or another negative errno; the fault may be filled then. fd stays the caller's. */
    int (*map)(void *context, int fd, uint64_t offset, uint64_t len, bool writable,
               uint8_t **ret_address, struct memory_file *ret_file, struct ob_fault *fault);
    void (*unmap)(void *context, uint8_t *address, uint64_t len);
    void *context;
};

/* A peer's description of a region; nothing of it is trusted. */
struct memory_region_desc {
    uint64_t gpa;
    uint64_t len;
    uint64_t offset;  /* into the file */
    int fd;           /* stays the caller's; -1: memory that only the VMM reaches, unless... */
    uint8_t *address; /* ...it is here, the caller's, for as long as the region lives, or... */
    struct ob_dma_region *within; /* ...in this region of another set with the same host, offset
                                     bytes from its start; the new region holds it */
    bool writable;
};

struct ob_dma_region {
    /* The members that look-ups touch come first, side by side. */
    uint64_t gpa;
    uint64_t len;
    uint8_t *address; /* NULL: only the VMM reaches it */
    unsigned references;
    bool writable;
    bool borrowed; /* the address is somebody else's to unmap */
    bool current;  /* a member of the set, not only held by spans */
    bool is_part;  /* of another region */
    uint64_t offset;
    union { /* a region has one cache line */
        struct memory_file file;
        struct ob_dma_region *within; /* of a part: the whole, which the dirty log goes by */
    };
};

struct memory {
    struct memory_host host;
    struct region_index index;
    unsigned count;
    struct ob_dma_region *last; /* the region of the last look-up, or NULL */
    struct dirty_log dirty;
    bool never_maps;
    unsigned
        generation; /* changes whenever the set does, so that a look-up can be kept until then */
};

void memory_init(struct memory *memory, struct memory_host host);
/* Regions have left the set on which spans are still held: their holder is to be asked to let
 * go. Nobody is called from here. */
#define MEMORY_HELD 1

/* Descriptors of regions that come from now on are not mapped: only the VMM reaches them. */
void memory_never_map(struct memory *memory);
/* Empties the set. */
void memory_done(struct memory *memory);

/* Replaces the whole set; on failure the old one stays. Returns 0, MEMORY_HELD, -EINVAL for a
 * region that is empty, not page aligned, wraps or overlaps another, -EOVERFLOW for one beyond its
 * file, -ENOMEM, or the host's errno. */
int memory_replace(struct memory *memory, const struct memory_region_desc *descs, unsigned count,
                   struct ob_fault *fault);

/* Adds one region. As memory_replace(), but -EEXIST when it overlaps another, and -ENOSPC when
 * there are max_regions already. */
int memory_add(struct memory *memory, const struct memory_region_desc *desc, unsigned max_regions,
               struct ob_fault *fault);

/* Removes the region of exactly this address and length: 0, MEMORY_HELD, or -ENOENT. The caller
 * gets the set's reference to it, for memory_is_held() and memory_drop(). */
int memory_remove(struct memory *memory, uint64_t gpa, uint64_t len,
                  struct ob_dma_region **ret_region);
/* As memory_remove(), with any region; -ENOENT when it does not exist. */
int memory_remove_any(struct memory *memory, struct ob_dma_region **ret_region);
/* Removes a region of the set that overlaps len bytes at gpa, which do not wrap: as memory_remove(),
 * -ENOENT when there is none. */
int memory_remove_overlap(struct memory *memory, uint64_t gpa, uint64_t len,
                          struct ob_dma_region **ret_region);
/* Whether there is a region of exactly this address and length. */
bool memory_has(struct memory *memory, uint64_t gpa, uint64_t len);
/* The lowest region that has bytes at or behind an address, or NULL. */
const struct ob_dma_region *memory_next(const struct memory *memory, uint64_t gpa);
/* Whether spans are on a region that was removed. */
bool memory_is_held(const struct ob_dma_region *region);
void memory_drop(struct memory *memory, struct ob_dma_region *region);

/* Whether all of a range is memory, reachable or not: 0, -EFAULT, or -EACCES when part of it is
 * read only and write is asked for. */
int memory_check(struct memory *memory, uint64_t gpa, size_t len, bool write);

/* Where a range is in this process, for as long as memory.generation stays the same. -EFAULT,
 * -EACCES or -EREMOTE as ob_dma_map(); -E2BIG when it is not contiguous here. No access is logged:
 * a writer marks its writes, memory_mark(). */
int memory_at(struct memory *memory, uint64_t gpa, size_t len, bool write, uint8_t **ret_at);
void memory_mark(struct memory *memory, uint64_t gpa, size_t len);
/* The region that has the byte at gpa, or NULL. */
struct ob_dma_region *memory_find(struct memory *memory, uint64_t gpa);

/* As ob_dma_read(), ob_dma_write() and ob_dma_map(), without regard to bus mastering. */
int memory_read(struct memory *memory, uint64_t gpa, void *ret_buf, size_t len);
int memory_write(struct memory *memory, uint64_t gpa, const void *buf, size_t len);
int memory_map(struct memory *memory, uint64_t gpa, size_t len, bool write,
               struct ob_dma_span *ret_spans, unsigned max_spans);
void memory_unmap(struct memory *memory, struct ob_dma_span *spans, unsigned count);

#endif
