// SPDX-License-Identifier: BSD-3-Clause
/*
 * Guest memory: SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG.
 *
 * The table holds the front end's regions, by guest address. The device sees another set,
 * whose regions lie within those of the table and hold them: the same regions by the same addresses,
 * or, behind an IOMMU, the translations that are known (iotlb.c). A region that leaves the table
 * thus stays mapped until the device has given back its last span on it.
 *
 * A message that takes memory away is answered when the device has let go of it. Rings may run
 * meanwhile, and regions come and go while they do: the BIOS remaps memory often.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "device/device_vault.h"
#include "server/vhost_user/vhost_user.h"

static struct memory *view(struct vhost_user_server *server)
{
    return device_memory(server->engine.device);
}

void vhost_user_memory_start(struct vhost_user_server *server)
{
    memory_init(&server->memory.table, device_host(server->engine.device)->memory);
}

void vhost_user_memory_stop(struct vhost_user_server *server)
{
    if (server->memory.leaving)
        memory_drop(view(server), server->memory.leaving);
    server->memory.leaving = NULL;
    device_forget_memory(server->engine.device, VAULT_SLOT, NULL);
    memory_done(&server->memory.table);
}

static struct memory_region_desc region_within(struct ob_dma_region *region)
{
    return (struct memory_region_desc){
        .gpa = region->gpa, .len = region->len, .fd = -1, .within = region, .writable = true};
}

/* Has the device see the table. 0, MEMORY_HELD or a negative errno. */
static int show_table(struct vhost_user_server *server, struct ob_fault *fault)
{
    struct vhost_user_memory *memory = &server->memory;
    struct memory_region_desc descs[LIMIT_VHOST_USER_SLOTS];
    unsigned count = 0;
    for (; count < memory->num_slots; count++)
        descs[count] = region_within(memory_find(&memory->table, memory->slots[count].gpa));
    return memory_replace(view(server), descs, count, fault);
}

void vhost_user_memory_show(struct vhost_user_server *server, bool iommu)
{
    server->iotlb.on = iommu;
    memory_replace(view(server), NULL, 0, NULL);
    if (!iommu)
        show_table(server, NULL);
}

/* With a vault, the next process maps a region again. */
static void keep_region(struct vhost_user_message *message, const struct memory_region_desc *desc,
                        unsigned number)
{
    if (!device_vault(message->device))
        return;
    device_keep_memory(message->device, VAULT_SLOT, desc);
    message->fds->fd[number] = -1;
}

static int replace_table(struct vhost_user_message *message)
{
    struct vhost_user_memory *memory = &message->server->memory;
    struct vhost_user_region regions[LIMIT_VHOST_USER_REGIONS];
    struct memory_region_desc descs[LIMIT_VHOST_USER_REGIONS];
    int count = vhost_user_table_get(message->payload, message->len, regions);
    if (count < 0 || message->fds->count != (unsigned)count)
        return vhost_user_refuse(message, -EINVAL,
                                 "got %u descriptors and %zu bytes, expected a "
                                 "descriptor and %u bytes for each of up to %u regions",
                                 message->fds->count, message->len, VHOST_USER_REGION_LEN,
                                 LIMIT_VHOST_USER_REGIONS);
    for (int i = 0; i < count; i++)
        descs[i] = (struct memory_region_desc){.gpa = regions[i].gpa,
                                               .len = regions[i].size,
                                               .offset = regions[i].mmap_offset,
                                               .fd = message->fds->fd[i],
                                               .writable = true};
    int err = memory_replace(&memory->table, descs, (unsigned)count, &message->fault);
    if (err < 0)
        return err;
    memory->num_slots = (unsigned)count;
    device_forget_memory(message->device, VAULT_SLOT, NULL);
    for (int i = 0; i < count; i++)
        keep_region(message, &descs[i], (unsigned)i);
    for (int i = 0; i < count; i++)
        memory->slots[i] = (struct vhost_user_slot){
            .gpa = regions[i].gpa, .len = regions[i].size, .user_address = regions[i].user_address};
    return 0;
}

/* Replaces the table, and the set that the device sees. 0 or a negative errno. */
static int replace_memory(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    int err = replace_table(message);
    if (err < 0)
        return err;
    err = server->iotlb.on ? memory_replace(view(server), NULL, 0, &message->fault)
                           : show_table(server, &message->fault);
    if (err == MEMORY_HELD)
        device_quiesce(message->device);
    return err < 0 ? err : 0;
}

int vhost_user_set_mem_table(struct vhost_user_message *message)
{
    struct vhost_user_memory *memory = &message->server->memory;
    int err = memory->replaced ? 0 : replace_memory(message);
    if (err < 0)
        return err;
    memory->replaced = !device_is_quiet(message->device);
    if (memory->replaced)
        return ENGINE_LATER;
    virtio_retry(message->device);
    return 0;
}

int vhost_user_add_mem_reg(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    struct vhost_user_memory *memory = &server->memory;
    struct vhost_user_region region;
    if (vhost_user_mem_reg_get(message->payload, message->len, &region) < 0 ||
        message->fds->count != 1)
        return vhost_user_refuse(message, -EINVAL, "got %u descriptors, expected 1",
                                 message->fds->count);
    const struct memory_region_desc desc = {.gpa = region.gpa,
                                            .len = region.size,
                                            .offset = region.mmap_offset,
                                            .fd = message->fds->fd[0],
                                            .writable = true};
    int err = memory_add(&memory->table, &desc, LIMIT_VHOST_USER_SLOTS, &message->fault);
    if (err < 0)
        return vhost_user_refuse(message, err, "memory at 0x%" PRIx64 ": %s", region.gpa,
                                 strerror(-err));
    keep_region(message, &desc, 0);
    memory->slots[memory->num_slots++] = (struct vhost_user_slot){
        .gpa = region.gpa, .len = region.size, .user_address = region.user_address};
    if (!server->iotlb.on) {
        const struct memory_region_desc shown =
            region_within(memory_find(&memory->table, region.gpa));
        err = memory_add(view(server), &shown, LIMIT_VHOST_USER_SLOTS, &message->fault);
        if (err < 0)
            return err;
    }
    virtio_retry(message->device);
    return 0;
}

static int find_slot(const struct vhost_user_memory *memory, const struct vhost_user_region *region)
{
    for (unsigned i = 0; i < memory->num_slots; i++) {
        const struct vhost_user_slot *slot = &memory->slots[i];
        if (slot->gpa == region->gpa && slot->len == region->size &&
            slot->user_address == region->user_address)
            return (int)i;
    }
    return -ENOENT;
}

int vhost_user_hide(struct vhost_user_server *server, uint64_t address, uint64_t len)
{
    struct ob_device *device = server->engine.device;
    struct ob_dma_region **leaving = &server->memory.leaving;
    for (;;) {
        if (!*leaving) {
            int removed = memory_remove_overlap(view(server), address, len, leaving);
            if (removed < 0)
                return 0;
            if (removed == MEMORY_HELD)
                device_quiesce(device);
        }
        if (!device_is_quiet(device) || memory_is_held(*leaving))
            return ENGINE_LATER;
        memory_drop(view(server), *leaving);
        *leaving = NULL;
    }
}

int vhost_user_rem_mem_reg(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    struct vhost_user_memory *memory = &server->memory;
    struct vhost_user_region region;
    struct ob_dma_region *removed;
    if (vhost_user_mem_reg_get(message->payload, message->len, &region) < 0)
        return -EINVAL;
    int slot = find_slot(memory, &region);
    if (slot < 0)
        return vhost_user_refuse(message, slot,
                                 "there is no region at 0x%" PRIx64 " of 0x%" PRIx64
                                 " bytes with the user address 0x%" PRIx64,
                                 region.gpa, region.size, region.user_address);
    /* Behind an IOMMU, any translation may lead there. */
    int err = server->iotlb.on ? vhost_user_hide(server, 0, UINT64_MAX)
                               : vhost_user_hide(server, region.gpa, region.size);
    if (err != 0)
        return err;
    device_forget_memory(message->device, VAULT_SLOT, &region.gpa);
    if (memory_remove(&memory->table, region.gpa, region.size, &removed) >= 0)
        memory_drop(&memory->table, removed);
    memory->slots[slot] = memory->slots[--memory->num_slots];
    virtio_retry(message->device);
    return 0;
}

int vhost_user_memory_resume(struct vhost_user_server *server, bool iommu, struct ob_fault *fault)
{
    struct vhost_user_memory *memory = &server->memory;
    struct memory_region_desc descs[LIMIT_VHOST_USER_SLOTS];
    unsigned count =
        device_kept_memory(server->engine.vault, VAULT_SLOT, descs, LIMIT_VHOST_USER_SLOTS);
    int err = memory_replace(&memory->table, descs, count, fault);
    for (unsigned i = 0; i < memory->num_slots && err == 0; i++)
        if (!memory_has(&memory->table, memory->slots[i].gpa, memory->slots[i].len))
            err = ob_fault_set(fault, -EINVAL, "the vault has no memory for a slot");
    if (err == 0)
        vhost_user_memory_show(server, iommu);
    return err;
}

int vhost_user_get_max_mem_slots(struct vhost_user_message *message)
{
    wr_u64(&message->reply, LIMIT_VHOST_USER_SLOTS);
    return 0;
}

struct ob_dma_region *vhost_user_find_user(struct vhost_user_server *server, uint64_t user_address,
                                           uint64_t *ret_offset, uint64_t *ret_left)
{
    struct vhost_user_memory *memory = &server->memory;
    for (unsigned i = 0; i < memory->num_slots; i++) {
        const struct vhost_user_slot *slot = &memory->slots[i];
        if (user_address - slot->user_address >= slot->len)
            continue;
        *ret_offset = user_address - slot->user_address;
        *ret_left = slot->len - *ret_offset;
        return memory_find(&memory->table, slot->gpa);
    }
    return NULL;
}
