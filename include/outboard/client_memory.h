// SPDX-License-Identifier: BSD-3-Clause
/*
 * Client, memory: guest memory that a remote device may access, and the log of pages that it has
 * written. The rules of client.h for errors, waiting and threads apply.
 */
#ifndef OUTBOARD_CLIENT_MEMORY_H
#define OUTBOARD_CLIENT_MEMORY_H

#include <outboard/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A piece of guest memory. */
struct ob_client_region {
    uint64_t gpa;    /* guest address */
    uint64_t len;    /* bytes */
    uint64_t offset; /* into the file */
    int fd;          /* a file that can be mapped shared (memfd); stays the caller's */
    bool read_only;  /* vfio-user: the device may not write there */
    /* vfio-user, with fd -1: the memory itself, `len` bytes that must remain until the region is
     * unmapped. The remote learns only its range, and accesses its bytes by messages. */
    void *memory;
};

/**
 * Give the remote a memory table, which replaces the previous one. Call it first: an mpqemu remote
 * learns the dialect from it, and QEMU's own remote ends if its table is empty.
 *
 * Regions that touch in the guest and in the same file (the same @fd) are sent as one.
 *
 * Over vfio-user, new regions are mapped, and regions that are not named are unmapped; the others
 * are unchanged.
 *
 * Returns 0; -EINVAL for a region that is empty, not aligned to pages of 4096, wraps around or
 * overlaps another; -E2BIG when more than 7 remain to be sent over mpqemu, or more than 64 are
 * given; -EBADF for a descriptor that is not open; -ENOTCONN when the remote is lost; over
 * vfio-user also the errors of ob_client_map_memory(). A hung mpqemu remote still gets the table.
 * All errors except -ENOTCONN fill @fault, which may be NULL.
 */
OB_API int ob_client_publish_memory(struct ob_client *client,
                                    const struct ob_client_region *regions, unsigned count,
                                    struct ob_fault *fault);

/**
 * vfio-user: add a region (DMA_MAP), for VMMs with many regions or with a virtual IOMMU;
 * @region.gpa is then an IOVA.
 *
 * Returns 0; -EINVAL and -EBADF as ob_client_publish_memory(), and for a region that does not fit
 * the remote's page sizes; -EEXIST when it overlaps one that is mapped; -ENOSPC when the remote
 * takes no more regions; -ENOMEM, the errno of mapping the file here, or the errno of a call.
 */
OB_API int ob_client_map_memory(struct ob_client *client, const struct ob_client_region *region,
                                struct ob_fault *fault);

/**
 * vfio-user: remove a region (DMA_UNMAP), with the range with which it was mapped. When this
 * returns 0, the remote has ended its I/O there. After -ETIMEDOUT the remote may still access the
 * region, until the client is lost or freed and the remote's process has ended.
 *
 * Returns 0, -ENOENT when there is no such region, or the errno of a call. After -EREMOTEIO the
 * region is still mapped. If the remote answers that it has no such region (ENOENT), the region
 * counts as removed.
 */
OB_API int ob_client_unmap_memory(struct ob_client *client, uint64_t gpa, uint64_t len);

/** A range of guest memory. */
struct ob_client_range {
    uint64_t gpa;
    uint64_t len; /* bytes */
};

/**
 * vfio-user: have the device keep a log of the pages that it writes. Its writes by messages are
 * logged here and reported with the others.
 *
 * @page_size: bytes a bit stands for, a power of two of at least 4096.
 * @ranges:    whole pages; at most 64.
 * @count:     0: all memory, including memory that is mapped later.
 *
 * Returns 0; -EINVAL, -E2BIG or -EBUSY (the log is on) for ranges that can't be logged; -ENOMEM; or
 * the errno of a call.
 */
OB_API int ob_client_log_start(struct ob_client *client, uint64_t page_size,
                               const struct ob_client_range *ranges, unsigned count);
OB_API int ob_client_log_stop(struct ob_client *client);

/**
 * vfio-user: get the pages of a range that were written since the last report. If the remote has
 * lost its log of a region that was unmapped meanwhile, the report contains all pages of that
 * region.
 *
 * @ret_bits: a bit a page, lowest first, in whole 8 bytes: (pages + 63) / 64 * 8.
 *
 * Returns 0; -EINVAL for another page size or a range that is not in the log; -ENOMEM; or the errno
 * of a call. A failed call loses nothing: the next report contains all pages, and after -ETIMEDOUT
 * perhaps more.
 */
OB_API int ob_client_log_report(struct ob_client *client, uint64_t page_size,
                                const struct ob_client_range *range, uint8_t *ret_bits);

#ifdef __cplusplus
}
#endif
#endif
