// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every quantity that a peer can drive has its bound here, under a name.
 */
#ifndef OUTBOARD_BASE_LIMITS_H
#define OUTBOARD_BASE_LIMITS_H

/* Descriptors taken from one receive; more truncate and end the connection. */
#define LIMIT_FDS_PER_RECEIVE 32

/* Descriptors that one message may carry: the kernel's SCM_MAX_FD. The kernel closes descriptors for which a
 * receive has no room there and then, which may wait. */
#define LIMIT_FDS_PER_MESSAGE 253

/* Descriptors of peers that wait to be closed. Those beyond stay open until the end of the
 * process. */
#define LIMIT_CLOSING 65536

/* mpqemu: descriptors of one message (REMOTE_MAX_FDS). */
#define LIMIT_MPQEMU_FDS 8

/* mpqemu: payload of one message, the v8 union. */
#define LIMIT_MPQEMU_PAYLOAD 192

/* mpqemu: regions of one table that we send; QEMU's remote refuses a message with all
 * LIMIT_MPQEMU_FDS descriptors. */
#define LIMIT_MPQEMU_REGIONS 7

/* Regions of guest memory that a client takes before those that touch are merged. */
#define LIMIT_CLIENT_REGIONS 64

/* Calls of a client that may wait for an answer: an access, a heartbeat, and late ones of each. */
#define LIMIT_CLIENT_CALLS 4

/* Parts of a region that a client may map; further parts that a server announces are passed over. */
#define LIMIT_CLIENT_AREAS 16

/* Eventfds of one region that a client asks for. */
#define LIMIT_CLIENT_EVENTFDS 1024

/* Receives, and sends, in a row by which a client serves a remote that asks without end. */
#define LIMIT_CLIENT_ROUNDS 64

/* Longest time that a client waits for an answer, milliseconds. */
#define LIMIT_CLIENT_TIMEOUT_MS 60000

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

/* vhost-user: regions of one SET_MEM_TABLE, whose descriptors fit one message; slots that are added
 * one by one (GET_MAX_MEM_SLOTS); and bytes of configuration space in one message. */
#define LIMIT_VHOST_USER_REGIONS 8u
#define LIMIT_VHOST_USER_SLOTS   509u
#define LIMIT_VHOST_USER_CONFIG  256u

/* vhost-user: rings, whose index has eight bits. */
#define LIMIT_VHOST_USER_RINGS 256u

/* vhost-user: translations of one device's IOMMU that are kept, misses that wait for an answer, and
 * milliseconds for which one waits. */
#define LIMIT_VHOST_USER_IOTLB   32768u
#define LIMIT_VHOST_USER_MISSES  64u
#define LIMIT_VHOST_USER_MISS_MS 5000u

/* Dirty log: ranges of guest memory, and pages in all of them (256 GiB of 4096 bytes: 8 MiB of
 * bits). */
#define LIMIT_DIRTY_RANGES 64
#define LIMIT_DIRTY_PAGES  (64u << 20)

/* Dirty log of all memory: pages that have their bits together, a power of two. */
#define LIMIT_DIRTY_BLOCK_PAGES 4096u

/* The saved state of one device, memory BARs included. */
#define LIMIT_STATE_BYTES (64u << 20)

/* A state that comes in, of a device that outlives its process, and the whole vault. Pages that nobody
 * has written to need no memory. */
#define LIMIT_VAULT_INCOMING (132u << 20)
#define LIMIT_VAULT_BYTES    (LIMIT_VAULT_STATE + LIMIT_VAULT_INCOMING)

/* Bytes of a device's name in a saved state. */
#define LIMIT_NAME_BYTES 255

/* PCI: capabilities that fit a conventional configuration space. */
#define LIMIT_PCI_CAPABILITIES 48

/* Widest register access, bytes. */
#define LIMIT_ACCESS_BYTES 8

/* Longest time that a server polls before it blocks, microseconds. */
#define LIMIT_POLL_US 20000

/* Who connects to a device's socket while it is free or served: the number that may be silent at a time
 * (the oldest makes room), how long while the device is served, and the number that is accepted in
 * LIMIT_CANDIDATE_TURN_MS. */
#define LIMIT_CANDIDATES           8
#define LIMIT_CANDIDATE_SILENCE_MS 1000
#define LIMIT_CANDIDATE_TURN_MS    100
#define LIMIT_CANDIDATES_PER_TURN  8

/* Session: payload of one DATA frame that is accepted, and that is sent on a clean channel. */
#define LIMIT_SESSION_DATA 16384

/* Session: payload of one DATA frame sent on a raw line, so that control frames wait less. */
#define LIMIT_SESSION_LINE_DATA 4096

/* Session: payloads of DATA frames that wait in the buffer in which they were received, at most;
 * they are copied when there are more. */
#define LIMIT_SESSION_PIECES 64

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

/* Session: OPENs that one end may have sent and that were neither answered nor reset, where fewer
 * streams are granted. */
#define LIMIT_SESSION_UNANSWERED 256

/* Session: control frames that go before the next data frame. */
#define LIMIT_SESSION_CONTROL_BURST 64

/* Session: the control lane, bytes of frames that are encoded and not yet sent. */
#define LIMIT_SESSION_LANE 4096

/* Session: DATA frames in one gather list. */
#define LIMIT_SESSION_BATCH 32

/* Session: the longest gap between two looks at the clock that counts as silence, nanoseconds. */
#define LIMIT_SESSION_CLOCK_STEP_NS 1000000000ull

/* Bytes of arguments of one command that a peer runs: more than execve(2) ever takes. */
#define LIMIT_RUN_ARGUMENTS (6u << 20)

/* Bytes of standard input that wait for one command that a peer runs. */
#define LIMIT_RUN_INPUT 262144u

/* Child processes of one program at a time. */
#define LIMIT_CHILDREN 512

/* Bytes that a relay reads at once for a stream with credit, and for one without. */
#define LIMIT_RELAY_BUFFER  131072
#define LIMIT_RELAY_BLOCKED 32768

/* Connections to a channel that listens that have no session yet, at a time. */
#define LIMIT_CHANNEL_CLAIMANTS 16

/* Bytes that a channel is read by at once. */
#define LIMIT_CHANNEL_READ 262144

/* Clients of a control socket at a time; connections in the midst of SOCKS at a time. */
#define LIMIT_CONTROL_CLIENTS 64
#define LIMIT_SOCKS_CLIENTS   256

/* Streams that the peer of a proxy may have open at a time; more than the destinations that are
 * being connected to at a time, so that these, when they do not answer, leave room. */
#define LIMIT_PROXY_STREAMS 4096
#define LIMIT_DIALS         1024

/* Names that are being looked up at a time, each by a child process. */
#define LIMIT_LOOKUPS 128

/* Lines of one client of a control socket before the loop looks at everything else again. */
#define LIMIT_CONTROL_BURST 16

/* Longest line of the control protocol, bytes. */
#define LIMIT_CONTROL_LINE 512

/* Kinds of log lines whose rate is watched at a time. */
#define LIMIT_LOG_KINDS 64

/* Bytes of log lines that wait while a file system must not be written to. */
#define LIMIT_LOG_HELD 16384

/* Addresses at which a peer may have us listen at a time. */
#define LIMIT_PEER_LISTENERS 64

/* A process in a cell: open descriptors (a VMM that passes more is dropped), threads with workers of
 * its rings (no more are made), and bytes of private memory (an allocation fails): a device's state,
 * buffers and stacks. Memory that a VMM shares does not count. */
#define LIMIT_CELL_FILES     4096u
#define LIMIT_CELL_PROCESSES 64u
#define LIMIT_CELL_MEMORY    (1u << 30)

/* Configuration of a virtual machine: devices, bytes of a device's name, bytes of a line. */
#define LIMIT_DEVICES     64
#define LIMIT_DEVICE_ID   63
#define LIMIT_CONFIG_LINE 16384

/* A device that is restarted: ranges of memory and descriptors that are kept for it (of a VMM that passes
 * more, the device can't be restarted), bytes of its buffers of messages, lives without progress until it has failed,
 * and how long a keeper may take to hand descriptors over, milliseconds. */
#define LIMIT_VAULT_ENTRIES (LIMIT_MEMORY_REGIONS + 4096u)
#define LIMIT_VAULT_BUFFERS (5u << 20)
#define LIMIT_VAULT_STATE   (12u << 20) /* all but a state that comes in */
#define LIMIT_RESTART_LIVES 5u
#define LIMIT_KEEPER_MS     2000u
/* A message of vfio-user that has waited for a process has its answer within this time, milliseconds, or
 * none: QEMU 10.2 gives it up after 5 s, and takes a later answer for that of another message. */
#define LIMIT_ANSWER_MS 4500u
/* Restarts of a device within a minute, unless its configuration says otherwise. */
#define LIMIT_RESTARTS_A_MINUTE 20u
#define LIMIT_RESTART_LIMIT     1000000u

/* How long the supervisor waits for a device to be ready, and for a process to end once it was asked
 * to, milliseconds. */
#define LIMIT_START_MS 30000u
#define LIMIT_STOP_MS  10000u

/* Time for the last processes of a device's control group to end, once the device has ended. */
#define LIMIT_GROUP_END_MS 500

/* How long a guest may wait for an upgrade, milliseconds: until the old process stands still, and until
 * the new one is ready. Spare processes that end are replaced after a while. */
#define LIMIT_UPGRADE_MS      4000u
#define LIMIT_DRAIN_MS        1000u /* requests in flight may take, before an upgrade */
#define LIMIT_DRAIN_ANSWER_MS 1500u /* and until a process tells that they have ended */
#define LIMIT_SPARE_AGAIN_MS  1000u

/* How long an order to a device process may take, milliseconds, such as to come to rest and be saved. */
#define LIMIT_ORDER_MS 30000u

/* The longest interval of a device's signs of life, milliseconds. */
#define LIMIT_WATCHDOG_MS 3600000u

/* Control socket of a virtual machine: bytes of one request, of one answer, and of events that wait
 * for a client that does not read. */
#define LIMIT_MONITOR_REQUEST 65536u
#define LIMIT_MONITOR_ANSWER  (4u << 20)
#define LIMIT_MONITOR_EVENTS  65536u

/* Clients of one device's monitor socket at a time. Those of 64 devices and of the control socket leave
 * descriptors for restarts, of 1024. */
#define LIMIT_VIEW_CLIENTS 4

/* Bytes of a device's state that one message of the control socket carries. */
#define LIMIT_STATE_PIECE 32768u

/* Bytes of one message of a VMM's QMP, and how long the supervisor waits for an answer and for a
 * guest that is to let go of a device, milliseconds. */
#define LIMIT_QMP_MESSAGE (1u << 20)
#define LIMIT_QMP_MS      10000u
#define LIMIT_UNPLUG_MS   30000u

/* Bytes of a line of a child that go to our log together. */
#define LIMIT_CHILD_LINE 1024

/* JSON of a peer: bytes of one request, how deep its values nest, and how many it has. */
#define LIMIT_JSON_TEXT   (16u << 20)
#define LIMIT_JSON_DEPTH  1024
#define LIMIT_JSON_VALUES 65536

/* Agent: clients at a time, and bytes of one answer. */
#define LIMIT_AGENT_CLIENTS 256
#define LIMIT_AGENT_ANSWER  (80u << 20)

/* Agent: seconds that a command may take: one that reads the kernel's files, one that runs a
 * program of the guest, one access to a file, a freeze with its hooks, and a trim. */
#define LIMIT_AGENT_QUICK_S  10
#define LIMIT_AGENT_HELPER_S 30
#define LIMIT_AGENT_FILE_S   30
#define LIMIT_AGENT_FREEZE_S 60
#define LIMIT_AGENT_TRIM_S   600

/* Agent: files that are open at a time, and bytes of one read. */
#define LIMIT_AGENT_FILES     64
#define LIMIT_AGENT_FILE_READ (48u << 20)

/* Agent: commands of guest-exec that run or whose status nobody has asked for; bytes that are kept
 * of each of their outputs, and of all of them. */
#define LIMIT_AGENT_EXECS       64
#define LIMIT_AGENT_EXEC_OUTPUT (16u << 20)
#define LIMIT_AGENT_EXEC_TOTAL  (64u << 20)

/* Agent: seconds after which a freeze ends by itself, at most. */
#define LIMIT_AGENT_FREEZE_FOR_S 86400

/* A guest that calls its host: streams at a time, and bytes of one request. */
#define LIMIT_HOST_CALLERS 64
#define LIMIT_HOST_REQUEST 8192

/* Events of a guest: bytes of a name, and of a line with its newline, which a pipe takes as a whole
 * (PIPE_BUF); how many may come at once, and milliseconds for each further one. */
#define LIMIT_EVENT_NAME      64
#define LIMIT_EVENT_LINE      4096
#define LIMIT_EVENT_BURST     64
#define LIMIT_EVENT_REFILL_MS 100

/* Readers of the events' socket, and bytes that are kept for one that does not read. */
#define LIMIT_EVENT_READERS 16
#define LIMIT_EVENT_UNREAD  65536

/* How long the end of a guest's program waits for the answer to its last event, milliseconds. */
#define LIMIT_FAREWELL_MS 500

/* Answers that a proxy's connector holds for a proxy that does not take them: one for each
 * destination and command, and for each request meanwhile. */
#define LIMIT_CONNECTOR_ANSWERS 4096

/* Virtio: descriptors of one chain, and descriptors that are looked at for one. */
#define LIMIT_VIRTIO_SEGMENTS 1024

/* Virtio: chains that one queue gives before the loop turns to the next. */
#define LIMIT_VIRTIO_TURN 64

/* Bytes of a file of --cell-policy. */
#define LIMIT_POLICY_LEN 65536u

/* Bytes of a label of --label. */
#define LIMIT_LABEL_LEN 1024u

#endif
