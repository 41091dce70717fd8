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

/* Bytes of replies that wait for a peer that does not read. */
#define LIMIT_REPLY_BYTES 4096

/* Bytes that may wait in an engine before a whole message is there. */
#define LIMIT_REQUEST_BYTES 4096

/* PCI: capabilities that fit a conventional configuration space. */
#define LIMIT_PCI_CAPABILITIES 48

/* Widest register access, bytes. */
#define LIMIT_ACCESS_BYTES 8

/* Longest time that a server polls before it blocks, microseconds. */
#define LIMIT_POLL_US 1000

/* Session: payload of one DATA frame that is accepted, and that is sent on a clean channel. */
#define LIMIT_SESSION_DATA 16384

/* Session: payload of one DATA frame sent on a raw line, so that control frames wait less. */
#define LIMIT_SESSION_LINE_DATA 4096

/* Session: service name and metadata of one OPEN; the public header has the same numbers. */
#define LIMIT_SESSION_SERVICE_BYTES  255
#define LIMIT_SESSION_METADATA_BYTES 1024

/* Session: payload of one control frame; that of the longest OPEN. */
#define LIMIT_SESSION_CONTROL_PAYLOAD                                                              \
    (8 + LIMIT_SESSION_SERVICE_BYTES + LIMIT_SESSION_METADATA_BYTES)

/* Session: window that one end may grant, bytes. */
#define LIMIT_SESSION_WINDOW (64u << 20)

/* Session: streams that one end may allow the other. */
#define LIMIT_SESSION_STREAMS 65536

/* Session: OPENs that one end may have sent and that were neither answered nor reset. */
#define LIMIT_SESSION_UNANSWERED 256

/* Session: control frames that go before the next data frame. */
#define LIMIT_SESSION_CONTROL_BURST 64

/* Session: the control lane, bytes of frames that are encoded and not yet sent. */
#define LIMIT_SESSION_LANE 4096

/* Session: DATA frames in one gather list. */
#define LIMIT_SESSION_BATCH 32

/* Session: the longest gap between two looks at the clock that counts as silence, nanoseconds. */
#define LIMIT_SESSION_CLOCK_STEP_NS 1000000000ull

/* Child processes of one program at a time. */
#define LIMIT_CHILDREN 512

/* Bytes that a relay reads at once for a stream that has credit, and for one that has none. */
#define LIMIT_RELAY_BUFFER  131072
#define LIMIT_RELAY_BLOCKED 32768

/* Bytes that a channel is read by at once. */
#define LIMIT_CHANNEL_READ 262144

/* Clients of a control socket at a time; connections in the midst of SOCKS at a time. */
#define LIMIT_CONTROL_CLIENTS 64
#define LIMIT_SOCKS_CLIENTS   256

/* Longest line of the control protocol, bytes. */
#define LIMIT_CONTROL_LINE 512

/* Addresses at which a peer may have us listen at a time. */
#define LIMIT_PEER_LISTENERS 64

#endif
