// SPDX-License-Identifier: BSD-3-Clause
/* Every quantity that a guest can drive has its bound here. */
#ifndef OUTBOARD_DEVICES_BLK_BOUNDS_H
#define OUTBOARD_DEVICES_BLK_BOUNDS_H

#define BLK_QUEUES     64u
#define BLK_QUEUE_SIZE 1024u

/* Requests that are carried out at a time; the rest waits in the queues. The ring of an image has
 * room for more (backends/block/ring.c). */
#define BLK_REQUESTS 512u

/* Chains taken from one queue before the others have their turn. Those that the page cache answers are
 * shown to the driver then: it works on them, and makes more available, while the device has the rest. */
#define BLK_BURST 8u

/* Descriptors of data in one request (seg_max), and pieces of memory that they may fall into: pages,
 * behind an IOMMU. The kernel takes no more at once (IOV_MAX). */
#define BLK_SEG_MAX 126u
#define BLK_IOVECS  1024u

/* Characters of a serial number (GET_ID). */
#define BLK_SERIAL_LEN 20u

/* Ranges of one discard or write zeroes, and sectors of one range. Zeroes may have to be written. */
#define BLK_SEGMENTS        32u
#define BLK_SEGMENT_LEN     16u
#define BLK_DISCARD_SECTORS (1u << 22)
#define BLK_ZEROES_SECTORS  (1u << 16)

#endif
