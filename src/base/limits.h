// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every quantity that a peer can drive has its bound here, under a name.
 */
#ifndef OUTBOARD_BASE_LIMITS_H
#define OUTBOARD_BASE_LIMITS_H

/* Descriptors taken from one receive; more truncate and end the connection. */
#define LIMIT_FDS_PER_RECEIVE 32

/* mpqemu: descriptors of one message (REMOTE_MAX_FDS). */
#define LIMIT_MPQEMU_FDS 8

/* mpqemu: payload of one message, the v8 union. */
#define LIMIT_MPQEMU_PAYLOAD 192

/* Regions of one guest memory table. vfio-user allows this many DMA maps. */
#define LIMIT_MEMORY_REGIONS 65535

/* Spans into which one DMA range may fall. */
#define LIMIT_DMA_SPANS 64

/* Bytes of replies that wait for a peer that does not read, on wires whose messages are short. */
#define LIMIT_REPLY_BYTES 4096

/* Bytes that may wait in an engine before a whole message is there, on wires whose messages are
 * short. */
#define LIMIT_REQUEST_BYTES 4096

/* vfio-user: descriptors of one message (max_msg_fds); QEMU refuses a larger offer. */
#define LIMIT_VFIO_USER_FDS 16

/* vfio-user: data bytes of one message (max_data_xfer_size). */
#define LIMIT_VFIO_USER_DATA (1u << 20)

/* vfio-user: the JSON text of VERSION, its NUL included. */
#define LIMIT_VFIO_USER_JSON 4096

/* vfio-user: writes in one REGION_WRITE_MULTI; QEMU sends up to 200. */
#define LIMIT_VFIO_USER_WRITES 1024

/* vfio-user: messages that ask the client for its memory and are not answered yet. */
#define LIMIT_VFIO_USER_DMA_MESSAGES 32

/* Dirty log: ranges of guest memory, and pages in all of them (256 GiB of 4096 bytes: 8 MiB of
 * bits). */
#define LIMIT_DIRTY_RANGES 64
#define LIMIT_DIRTY_PAGES  (64u << 20)

/* The saved state of one device, memory BARs included. */
#define LIMIT_STATE_BYTES (64u << 20)

/* Bytes of a device's name in a saved state. */
#define LIMIT_NAME_BYTES 255

/* PCI: capabilities that fit a conventional configuration space. */
#define LIMIT_PCI_CAPABILITIES 48

/* Widest register access, bytes. */
#define LIMIT_ACCESS_BYTES 8

/* Longest time that a server polls before it blocks, microseconds. */
#define LIMIT_POLL_US 1000

#endif
