// SPDX-License-Identifier: BSD-3-Clause
/* Every quantity that a guest can drive has its bound here. */
#ifndef OUTBOARD_DEVICES_NVME_BOUNDS_H
#define OUTBOARD_DEVICES_NVME_BOUNDS_H

/* I/O queue pairs; queue 0 is the admin queue. */
#define NVME_IO_QUEUES 64u
#define NVME_QUEUES    (NVME_IO_QUEUES + 1u)

/* Interrupt vectors. MSI-X: one for each completion queue, if the guest likes. MSI has no more. */
#define NVME_VECTORS     NVME_QUEUES
#define NVME_MSI_VECTORS 32u

/* Entries of a queue (CAP.MQES + 1). */
#define NVME_QUEUE_ENTRIES 4096u

/* Images, each a namespace. */
#define NVME_NAMESPACES 32u

/* Characters of a serial number. */
#define NVME_SERIAL_LEN 20u

/* Data of one command: two to the power of MDTS pages. */
#define NVME_MDTS           7u
#define NVME_TRANSFER_PAGES (1u << NVME_MDTS)
#define NVME_TRANSFER_LEN   (1u << (NVME_MDTS + 12))

/* Blocks that one Write Zeroes can name: two to the power of this pages of 4 KiB, in blocks of 512
 * bytes (WZSL). */
#define NVME_WRITE_ZEROES_LIMIT 13u

/* Ranges of one Dataset Management that are promised (DMRL); all 256 are taken. */
#define NVME_DATASET_LIMIT 255u

/* Pieces of guest memory of one command: one more page than its data fills when it starts within
 * one. */
#define NVME_SPANS (NVME_TRANSFER_PAGES + 1u)

/* I/O commands that are carried out at a time; the rest waits in the submission queues. */
#define NVME_IO_REQUESTS 512u

/* Asynchronous Event Request commands that may be outstanding (AERL + 1). */
#define NVME_ASYNC_EVENTS 4u

/* Admin commands that may be outstanding: events, one deletion for each queue, and some whose
 * completion waits for room. */
#define NVME_ADMIN_REQUESTS (NVME_ASYNC_EVENTS + NVME_IO_QUEUES + 16u)

/* Commands taken from one queue before the next has its turn, and in all before the server looks
 * at its other business. */
#define NVME_BURST  8u
#define NVME_BUDGET 64u

/* Bytes of a saved state, and its layout. */
#define NVME_STATE_VERSION 1u
#define NVME_STATE_LEN     65536u

/* Entries of the error log (ELPE + 1). */
#define NVME_ERROR_LOG 64u

/* Bytes compared at a time. */
#define NVME_COMPARE_CHUNK 65536u

#endif
