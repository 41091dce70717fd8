// SPDX-License-Identifier: BSD-3-Clause
/* Shared by the files of the vhost-user engine. vhost_user.c tells the story. */
#ifndef OUTBOARD_SERVER_VHOST_USER_H
#define OUTBOARD_SERVER_VHOST_USER_H

#include "base/cursor.h"
#include "device/virtio.h"
#include "server/engine.h"
#include "wire/vhost_user.h"

struct vhost_user_server;

/* The eventfds of a ring. */
enum vhost_user_event {
    VHOST_USER_KICK,
    VHOST_USER_CALL,
    VHOST_USER_ERR,
    VHOST_USER_EVENTS,
};

/* A ring, as the front end has described it; ring.c. */
struct vhost_user_ring {
    struct vhost_user_server *server;
    int fd[VHOST_USER_EVENTS]; /* -1: none */
    bool enabled;
    bool has_addr;
    bool runs; /* the device was told to start it, and has not stopped it since */
    uint16_t size;
    uint32_t base; /* of the last stop, or set by the front end */
    bool told;     /* the front end knows it by GET_VRING_BASE */
    struct vhost_user_vring_addr addr;
    struct vhost_user_marks *marks; /* of a packed ring in the inflight buffer; NULL: none */
};

/* A region of the table, as the front end addresses it. */
struct vhost_user_slot {
    uint64_t gpa;
    uint64_t len;
    uint64_t user_address;
};

/* Guest memory; memory.c. */
struct vhost_user_memory {
    struct memory table; /* by guest address; the device's regions lie within its regions */
    struct vhost_user_slot slots[LIMIT_VHOST_USER_SLOTS];
    unsigned num_slots;
    bool replaced;                 /* by the SET_MEM_TABLE that waits for the device */
    struct ob_dma_region *leaving; /* taken from the device by the message that waits */
};

/* A translation that the front end was asked for. */
struct vhost_user_miss {
    bool used;
    bool write;
    bool denied; /* it was answered without that access, or not in time */
    uint64_t iova;
    uint64_t since_ms;
};

/* Translations of the guest's IOMMU; iotlb.c. */
struct vhost_user_iotlb_state {
    bool on; /* addresses of rings and descriptors are IOVAs */
    struct vhost_user_miss misses[LIMIT_VHOST_USER_MISSES];
};

/* Memory that both sides have mapped: the dirty log, the inflight buffer. */
struct vhost_user_shared {
    uint8_t *bytes; /* NULL: none */
    uint64_t len;
};

/* inflight.c. */
struct vhost_user_inflight_state {
    struct vhost_user_shared buffer;
    uint16_t num_queues;
    uint16_t queue_size;
    uint64_t counter;
};

/* The device's own state on its way; transfer.c. */
struct vhost_user_transfer_state {
    int fd; /* a pipe; -1: nothing is on its way */
    bool loads;
    int result; /* of the last one; -ENODATA: there was none */
    uint8_t *bytes;
    size_t at, len, room;
};

struct vhost_user_server {
    struct engine engine;            /* first: an engine of this wire is one of these */
    struct vhost_user_header header; /* the one that was read last */
    uint64_t features;               /* as the front end has set them */
    bool has_features;
    uint64_t protocol_features;
    uint8_t status;
    int backend_fd; /* the back-end channel; -1: none */
    struct virtio_wire wire;
    struct vhost_user_ring *rings;
    unsigned num_rings;
    struct vhost_user_memory memory;
    struct vhost_user_iotlb_state iotlb;
    struct vhost_user_shared log;
    struct vhost_user_inflight_state inflight;
    struct vhost_user_transfer_state transfer;
};

static inline bool vhost_user_any_ring_runs(const struct vhost_user_server *server)
{
    bool runs = false;
    for (unsigned i = 0; i < server->num_rings; i++)
        runs |= server->rings[i].runs;
    return runs;
}

/* One message, checked against its row. */
struct vhost_user_message {
    struct vhost_user_server *server;
    struct ob_device *device;
    const uint8_t *payload;
    size_t len;
    struct fd_list *fds;
    struct ob_fault fault; /* why it is refused */
    struct wr reply;       /* takes the payload of the reply, of messages that have one */
    int reply_fd;          /* -1: none; stays somebody else's */
};

/* Carries a message out. Returns 0; ENGINE_LATER, to be called again without the descriptors; or a
 * negative errno, with the fault of the message filled or not. */
typedef int (*vhost_user_handler_fn)(struct vhost_user_message *message);

/* message.c */
/* Refuses: fills the fault of the message and returns the errno. */
int vhost_user_refuse(struct vhost_user_message *message, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The payload that is one u64. */
uint64_t vhost_user_u64(const struct vhost_user_message *message);
/* Takes the descriptor of a message; -1: it has no descriptor. */
int vhost_user_take_fd(struct vhost_user_message *message);
/* The most bytes of the device's own state, with its head; 0: the device can't be saved. */
size_t vhost_user_transfer_limit(const struct vhost_user_server *server);
/* Features of the protocol that are offered. */
uint64_t vhost_user_protocol_offered(const struct vhost_user_server *server);
bool vhost_user_has_protocol(const struct vhost_user_server *server,
                             enum vhost_user_protocol_feature feature);
/* Replaces the back-end channel; -1: by nothing. */
void vhost_user_set_backend(struct vhost_user_server *server, int fd);
/* Asks the front end on the back-end channel, and expects no answer there. Whether it was sent. */
bool vhost_user_ask(struct vhost_user_server *server, enum vhost_user_backend_request request,
                    const uint8_t *payload, size_t len);

/* memory.c */
void vhost_user_memory_start(struct vhost_user_server *server);
void vhost_user_memory_stop(struct vhost_user_server *server);
int vhost_user_set_mem_table(struct vhost_user_message *message);
int vhost_user_add_mem_reg(struct vhost_user_message *message);
int vhost_user_rem_mem_reg(struct vhost_user_message *message);
int vhost_user_get_max_mem_slots(struct vhost_user_message *message);
/* Has the device see guest addresses, or an IOMMU without translations. No queue runs. */
void vhost_user_memory_show(struct vhost_user_server *server, bool iommu);
/* Where the front end's address lies: the region of the table and the bytes from its start; NULL:
 * nowhere. *ret_left: bytes of the region from there. */
struct ob_dma_region *vhost_user_find_user(struct vhost_user_server *server, uint64_t user_address,
                                           uint64_t *ret_offset, uint64_t *ret_left);
/* Takes regions that overlap a range away from the device, one after the other. 0 when it has given
 * back all of them; else ENGINE_LATER, to be called again. */
int vhost_user_hide(struct vhost_user_server *server, uint64_t address, uint64_t len);

/* The regions of a successor, whose slots are known: the table, and what the device sees. 0 or a
 * negative errno with the fault filled. */
int vhost_user_memory_resume(struct vhost_user_server *server, bool iommu, struct ob_fault *fault);

/* session.c: as struct engine_session_ops. */
void vhost_user_session_put(struct engine *engine);
int vhost_user_session_resume(struct engine *engine, struct ob_fault *fault);

/* ring.c */
/* An eventfd that an earlier process had. 0 or a negative errno. */
int vhost_user_ring_resume(struct vhost_user_ring *ring, enum vhost_user_event event, int fd);
int vhost_user_rings_start(struct vhost_user_server *server);
void vhost_user_rings_stop(struct vhost_user_server *server);
/* Rings that have all that they need are started. */
void vhost_user_rings_try(struct vhost_user_server *server);
/* All rings stop, and are not enabled any more. 0 or ENGINE_LATER. */
int vhost_user_rings_reset(struct vhost_user_server *server);
int vhost_user_set_vring_num(struct vhost_user_message *message);
int vhost_user_set_vring_addr(struct vhost_user_message *message);
int vhost_user_set_vring_base(struct vhost_user_message *message);
int vhost_user_get_vring_base(struct vhost_user_message *message);
int vhost_user_set_vring_kick(struct vhost_user_message *message);
int vhost_user_set_vring_call(struct vhost_user_message *message);
int vhost_user_set_vring_err(struct vhost_user_message *message);
int vhost_user_set_vring_enable(struct vhost_user_message *message);
/* struct virtio_wire.signal_queue */
void vhost_user_signal_queue(void *context, unsigned queue);

/* iotlb.c */
int vhost_user_iotlb_msg(struct vhost_user_message *message);
/* struct virtio_wire.miss */
bool vhost_user_miss(void *context, uint64_t iova, uint64_t len, bool write);
/* Denies misses that have waited too long. Whether there were any. */
bool vhost_user_iotlb_look(struct vhost_user_server *server);
/* Nothing is asked for any more. */
void vhost_user_iotlb_clear(struct vhost_user_server *server);

/* log.c */
int vhost_user_set_log_base(struct vhost_user_message *message);
int vhost_user_set_log_fd(struct vhost_user_message *message);
/* Has writes logged, if the features and the log are there. */
void vhost_user_log_update(struct vhost_user_server *server);
void vhost_user_log_stop(struct vhost_user_server *server);
/* The log that an earlier process had, if any. 0 or a negative errno with the fault filled. */
int vhost_user_log_resume(struct vhost_user_server *server, struct ob_fault *fault);

/* inflight.c */
void vhost_user_inflight_stop(struct vhost_user_server *server);
int vhost_user_get_inflight_fd(struct vhost_user_message *message);
int vhost_user_set_inflight_fd(struct vhost_user_message *message);
/* Chains of an earlier process, oldest first. */
struct vhost_user_past {
    unsigned count, num_descs;
    struct virtio_flight flights[OB_VIRTIO_QUEUE_SIZE];
    struct virtio_desc descs[OB_VIRTIO_QUEUE_SIZE];
};
/* A ring is about to start at a place whose `used`, of a split ring, is the ring's. The chains of an
 * earlier process are listed, and the place moves behind them. 0 or a negative errno. */
int vhost_user_inflight_resume(struct vhost_user_server *server, unsigned queue,
                               struct virtio_place *place, struct vhost_user_past *past);
/* struct virtio_wire */
uint16_t vhost_user_inflight_taken(void *context, unsigned queue,
                                   const struct virtio_flight *flight);
void vhost_user_inflight_completing(void *context, unsigned queue, uint16_t mark,
                                    struct virtio_used_place used);
void vhost_user_inflight_completed(void *context, unsigned queue, uint16_t mark,
                                   struct virtio_used_place used);

/* inflight_part.c */
/* A queue's part of the buffer, if its rings are of that kind; NULL: none. */
uint8_t *vhost_user_inflight_part(const struct vhost_user_server *server, unsigned queue,
                                  bool packed);
/* A chain that is marked, in a copy that nobody else changes. */
struct vhost_user_marked {
    uint16_t mark;
    uint64_t counter;
};
/* Oldest first. New chains are younger than all of them. */
void vhost_user_marked_sort(struct vhost_user_server *server, struct vhost_user_marked *list,
                            unsigned count);

/* inflight_packed.c: likewise, of a packed ring */
int vhost_user_packed_resume(struct vhost_user_server *server, unsigned queue,
                             struct virtio_place *place, struct vhost_user_past *past);
uint16_t vhost_user_packed_taken(struct vhost_user_server *server, unsigned queue,
                                 const struct virtio_flight *flight);
void vhost_user_packed_completing(struct vhost_user_server *server, unsigned queue, uint16_t mark,
                                  struct virtio_used_place used);
void vhost_user_packed_completed(struct vhost_user_server *server, unsigned queue, uint16_t mark,
                                 struct virtio_used_place used);
/* The ring has stopped with nothing in flight: the front end knows its place. */
void vhost_user_packed_forget(struct vhost_user_server *server, unsigned queue);

/* transfer.c */
void vhost_user_transfer_stop(struct vhost_user_server *server);
int vhost_user_set_device_state_fd(struct vhost_user_message *message);
int vhost_user_check_device_state(struct vhost_user_message *message);

#endif
