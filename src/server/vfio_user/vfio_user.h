// SPDX-License-Identifier: BSD-3-Clause
/* Shared by the files of the vfio-user engine. vfio_user.c tells the story. */
#ifndef OUTBOARD_SERVER_VFIO_USER_H
#define OUTBOARD_SERVER_VFIO_USER_H

#include "base/cursor.h"
#include "server/engine.h"
#include "wire/vfio_user.h"

/* The client's limits for DMA_READ and DMA_WRITE. */
enum vfio_user_dma_layout {
    VFIO_USER_DMA_UNKNOWN,
    VFIO_USER_DMA_PROBING,
    VFIO_USER_DMA_STANDARD, /* a 64-bit count, data at offset 16 */
    VFIO_USER_DMA_QEMU,     /* a 32-bit count, data at offset 12, no payload in reply to a write */
};

/* A message on its way to the client and back. */
struct vfio_user_dma_slot {
    bool busy;
    bool probe;
    uint16_t id;
    uint16_t command;
    uint32_t count;
    struct ob_dma_request *request; /* NULL: nobody waits any more */
};

/* DMA by message; dma.c. */
struct vfio_user_dma {
    enum vfio_user_dma_layout layout;
    struct ob_dma_request *first; /* waiting for a slot, oldest first */
    struct vfio_user_dma_slot slots[LIMIT_VFIO_USER_DMA_MESSAGES];
    uint16_t next_id;
};

/* The session's side of migration; migration.c. */
struct vfio_user_migration {
    uint32_t state; /* enum vfio_user_mig_state */
    uint8_t *data;  /* saved, or coming in */
    bool in_vault;  /* `data` is */
    size_t len;
    size_t taken; /* of the saved state, by the client */
};

struct vfio_user_server {
    struct engine engine;           /* first: an engine of this wire is one of these */
    struct vfio_user_header header; /* the one that was read last */
    bool negotiated;                /* VERSION is done */
    bool may_be_qemu;               /* offers the capability that QEMU alone offers, "migration" */
    struct vfio_user_capabilities capabilities; /* as agreed */
    struct device_messenger messenger;
    struct vfio_user_dma dma;
    struct vfio_user_migration migration;
    int reply_fds[LIMIT_VFIO_USER_FDS]; /* of the reply that is being made */
    struct ob_dma_region *unmapping;    /* of the DMA_UNMAP that waits for its spans, or NULL */
};

/* One command, checked against its row. */
struct vfio_user_request {
    struct vfio_user_server *server;
    struct ob_device *device;
    const uint8_t *payload;
    size_t len;
    struct fd_list *fds;
    struct wr reply; /* takes the payload of the reply */
    int *reply_fds;  /* room for LIMIT_VFIO_USER_FDS; the descriptors in it stay somebody else's */
    unsigned num_reply_fds;
};

/* Carries a command out and writes the payload of its reply. Returns 0; ENGINE_LATER; or a negative
 * errno that the client gets instead. */
typedef int (*vfio_user_handler_fn)(struct vfio_user_request *request);

/* Data bytes of the longest message that fits. */
uint64_t vfio_user_longest_transfer(const struct engine_ops *ops);

int vfio_user_dma_map(struct vfio_user_request *request);
int vfio_user_dma_unmap(struct vfio_user_request *request);
int vfio_user_device_feature(struct vfio_user_request *request);
int vfio_user_mig_data_read(struct vfio_user_request *request);
int vfio_user_mig_data_write(struct vfio_user_request *request);
int vfio_user_device_set_irqs(struct vfio_user_request *request);
int vfio_user_device_get_region_io_fds(struct vfio_user_request *request);
int vfio_user_device_get_info(struct vfio_user_request *request);
int vfio_user_device_get_region_info(struct vfio_user_request *request);
int vfio_user_device_get_irq_info(struct vfio_user_request *request);
int vfio_user_region_read(struct vfio_user_request *request);
int vfio_user_region_write(struct vfio_user_request *request);
int vfio_user_region_write_multi(struct vfio_user_request *request);

/* A session begins: the device runs. */
void vfio_user_migration_start(struct vfio_user_server *server);
/* It ends. A device that was stopped stays so, for it may run elsewhere, until the next begins. */
void vfio_user_migration_stop(struct vfio_user_server *server);
/* Continues in another process, where the client has read `taken` of `len` bytes. 0 or a negative errno
 * with the fault filled. */
int vfio_user_migration_resume(struct vfio_user_server *server, uint32_t state, uint64_t len,
                               uint64_t taken, struct ob_fault *fault);
/* The device was reset, and runs. */
void vfio_user_migration_reset(struct vfio_user_server *server);

/* Forgets a DMA_UNMAP that waits. */
void vfio_user_unmap_stop(struct vfio_user_server *server);

/* session.c */
extern const struct engine_session_ops vfio_user_session;

/* DMA by message. The device may use it from start to stop; requests that are left then end with -ENOTCONN.
 */
void vfio_user_dma_start(struct vfio_user_server *server);
void vfio_user_dma_stop(struct vfio_user_server *server);
/* Takes a reply of the client. 0, or -EPROTO with the fault filled. */
int vfio_user_dma_reply(struct vfio_user_server *server, const struct vfio_user_header *header,
                        const uint8_t *payload, size_t len);
/* Sends waiting messages, as far as there is room. */
void vfio_user_dma_pump(struct vfio_user_server *server);

#endif
