// SPDX-License-Identifier: BSD-3-Clause
/*
 * A session in a vault. The front end does not reconnect: its socket, its memory, the eventfds of the
 * rings, the back-end channel and the log are kept, and so is what it has set.
 *
 * Whether a ring runs, and its place, are the device's (device/virtio_vault.c). Translations of an IOMMU are not kept:
 * the front end is asked again. The vault is not trusted.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "device/device_vault.h"
#include "server/vhost_user/vhost_user.h"

#define HEAD_LEN (3 * 8 + 2 * 4)
#define RING_LEN (2 + 2 + 4 + VHOST_USER_VRING_ADDR_LEN)
#define SLOT_LEN (3 * 8)
#define LEN                                                                                        \
    (HEAD_LEN + LIMIT_VHOST_USER_RINGS * RING_LEN + LIMIT_VHOST_USER_SLOTS * (size_t)SLOT_LEN)

_Static_assert(LEN <= VAULT_PART_BYTES, "a part of the vault has room for the longest session");

static struct vhost_user_server *server_of(struct engine *engine)
{
    return (struct vhost_user_server *)engine;
}

void vhost_user_session_put(struct engine *engine)
{
    struct vhost_user_server *server = server_of(engine);
    const struct vhost_user_memory *memory = &server->memory;
    uint8_t bytes[LEN];
    struct wr wr = wr_init(bytes, sizeof(bytes));
    wr_u64(&wr, server->features);
    wr_u64(&wr, server->protocol_features);
    wr_u8(&wr, server->has_features);
    wr_u8(&wr, server->status);
    wr_u32(&wr, server->num_rings);
    wr_u32(&wr, memory->num_slots);
    for (unsigned i = 0; i < server->num_rings; i++) {
        const struct vhost_user_ring *ring = &server->rings[i];
        wr_u8(&wr, ring->enabled);
        wr_u8(&wr, ring->has_addr);
        wr_u16(&wr, ring->size);
        wr_u32(&wr, ring->base);
        uint8_t *addr = wr_room(&wr, VHOST_USER_VRING_ADDR_LEN);
        if (addr)
            vhost_user_vring_addr_put(addr, VHOST_USER_VRING_ADDR_LEN, &ring->addr);
    }
    for (unsigned i = 0; i < memory->num_slots; i++) {
        wr_u64(&wr, memory->slots[i].gpa);
        wr_u64(&wr, memory->slots[i].len);
        wr_u64(&wr, memory->slots[i].user_address);
    }
    vault_put(engine->vault, VAULT_PART_WIRE, bytes, wr.len, 0);
}

/* A ring of this device, as a front end may have described it. */
static bool get_ring(struct vhost_user_ring *ring, unsigned index, struct rd *rd)
{
    const struct ob_device *device = ring->server->engine.device;
    const uint8_t enabled = rd_u8(rd), has_addr = rd_u8(rd);
    uint8_t addr[VHOST_USER_VRING_ADDR_LEN];
    ring->size = rd_u16(rd);
    ring->base = rd_u32(rd);
    rd_bytes(rd, addr, sizeof(addr));
    vhost_user_vring_addr_get(addr, sizeof(addr), &ring->addr);
    ring->enabled = enabled;
    ring->has_addr = has_addr;
    ring->runs = virtio_queue_is_running(device, index);
    return enabled <= 1 && has_addr <= 1 && ring->size <= virtio_queue_max_size(device, index);
}

static bool get_session(struct vhost_user_server *server, struct rd *rd)
{
    struct vhost_user_memory *memory = &server->memory;
    server->features = rd_u64(rd);
    server->protocol_features = rd_u64(rd);
    const uint8_t has_features = rd_u8(rd);
    server->has_features = has_features;
    server->status = rd_u8(rd);
    const uint32_t num_rings = rd_u32(rd), num_slots = rd_u32(rd);
    if (has_features > 1 || num_rings != server->num_rings || num_slots > LIMIT_VHOST_USER_SLOTS ||
        server->protocol_features & ~vhost_user_protocol_offered(server))
        return false;
    for (unsigned i = 0; i < num_rings; i++)
        if (!get_ring(&server->rings[i], i, rd))
            return false;
    for (unsigned i = 0; i < num_slots; i++) {
        memory->slots[i].gpa = rd_u64(rd);
        memory->slots[i].len = rd_u64(rd);
        memory->slots[i].user_address = rd_u64(rd);
    }
    memory->num_slots = num_slots;
    return rd_done(rd) == 0;
}

static int resume_descriptor(struct vhost_user_server *server, const struct vault_role *role,
                             int fd)
{
    if (role->kind == VAULT_BACKEND)
        server->backend_fd = fd;
    if (role->kind != VAULT_RING)
        return 0;
    if (role->a >= (uint64_t)server->num_rings * VHOST_USER_EVENTS)
        return -EINVAL;
    return vhost_user_ring_resume(&server->rings[role->a / VHOST_USER_EVENTS],
                                  (enum vhost_user_event)(role->a % VHOST_USER_EVENTS), fd);
}

static int resume_descriptors(struct vhost_user_server *server, struct ob_fault *fault)
{
    const struct vault *vault = server->engine.vault;
    for (unsigned i = 0; i < vault->used; i++) {
        if (!vault_is_valid(vault, i))
            continue;
        int err = resume_descriptor(server, &vault_entry(vault, i)->role, vault_fd(vault, i));
        if (err < 0)
            return ob_fault_set(fault, err, "the vault has a descriptor for no ring");
    }
    return 0;
}

int vhost_user_session_resume(struct engine *engine, struct ob_fault *fault)
{
    struct vhost_user_server *server = server_of(engine);
    const struct vault_copy *copy = vault_get(engine->vault, VAULT_PART_WIRE);
    if (!copy) /* it died before the first message was done */
        return 0;
    struct rd rd = rd_init(copy->bytes, copy->len);
    if (!get_session(server, &rd))
        return ob_fault_set(fault, -EINVAL, "the vault has no session of vhost-user");
    const bool iommu = server->features & UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM;
    int err = vhost_user_memory_resume(server, iommu, fault);
    if (err == 0)
        err = resume_descriptors(server, fault);
    if (err == 0)
        err = vhost_user_log_resume(server, fault);
    if (err < 0 && fault && !fault->code)
        ob_fault_set(fault, err, "the vault: memory of the front end is refused: %s",
                     strerror(-err));
    return err;
}
