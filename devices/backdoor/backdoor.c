// SPDX-License-Identifier: BSD-3-Clause
/*
 * The backdoor's registers.
 *
 * BAR 0, control: every eight bytes are the same register. It reads as the size of the data
 * channel; writes gather a command, and the access that ends on the register's last byte runs it.
 * BAR 1, data: memory. BARs are powers of two, so behind a data channel of three pages lies a
 * fourth one that nobody looks at.
 */
#include "backdoor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/vault.h>

enum {
    CONTROL_BAR = 0,
    DATA_BAR = 1,
};

static uint64_t read_control(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    const struct backdoor *backdoor = state;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        uint64_t byte = backdoor->size >> (8 * ((offset + i) % 8)) & 0xff;
        value |= byte << (8 * i);
    }
    return value;
}

static void run(struct backdoor *backdoor)
{
    uint64_t command;
    memcpy(&command, backdoor->command, sizeof(command));
    const bool was_cut = ob_vault_begin_effect(backdoor->device);
    if (!backdoor->called && backdoor->ops.init)
        backdoor->ops.init(backdoor->size);
    backdoor->called = true;
    if (was_cut && backdoor->ops.cut(command, backdoor->data) != OB_BACKDOOR_REPEAT)
        return;
    backdoor->ops.call(command, backdoor->data);
}

static void write_control(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct backdoor *backdoor = state;
    for (unsigned i = 0; i < size; i++)
        backdoor->command[(offset + i) % 8] = (uint8_t)(value >> (8 * i));
    if ((offset + size) % 8 == 0)
        run(backdoor);
}

/* Half a command of a guest that has gone must not become one with half of the next guest's. */
static void forget_command(void *state)
{
    struct backdoor *backdoor = state;
    memset(backdoor->command, 0, sizeof(backdoor->command));
}

/* The bytes of a command that is not complete. Code that is called runs to its end before anything
 * else happens, so nothing is in flight. The state of that code is its own affair. */
static int save(void *state, uint8_t *ret_buf, size_t size)
{
    const struct backdoor *backdoor = state;
    memcpy(ret_buf, backdoor->command, sizeof(backdoor->command));
    return sizeof(backdoor->command);
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    struct backdoor *backdoor = state;
    if (len != sizeof(backdoor->command))
        return ob_fault_set(fault, -EINVAL, "backdoor: got a state of %zu bytes, expected %zu", len,
                            sizeof(backdoor->command));
    memcpy(backdoor->command, buf, len);
    return 0;
}

/* Ours and the code's, for the vault. */
static int keep(void *state, void *ret_bytes)
{
    const struct backdoor *backdoor = state;
    uint8_t *to = ret_bytes;
    memcpy(to, backdoor->command, sizeof(backdoor->command));
    if (backdoor->state_len > 0)
        memcpy(to + sizeof(backdoor->command), backdoor->state, backdoor->state_len);
    return (int)(sizeof(backdoor->command) + backdoor->state_len);
}

static int take_kept(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    struct backdoor *backdoor = state;
    const uint8_t *from = bytes;
    if (len != sizeof(backdoor->command) + backdoor->state_len)
        return ob_fault_set(fault, -EINVAL, "backdoor: got a state of %zu bytes, expected %zu", len,
                            sizeof(backdoor->command) + backdoor->state_len);
    memcpy(backdoor->command, from, sizeof(backdoor->command));
    if (backdoor->state_len > 0)
        memcpy(backdoor->state, from + sizeof(backdoor->command), backdoor->state_len);
    return 0;
}

static int name_state(struct backdoor *backdoor, struct ob_fault *fault)
{
    if (ob_vault_role() == OB_VAULT_NONE)
        return 0;
    if (!backdoor->ops.cut)
        return ob_fault_set(fault, -ENOTSUP,
                            "got on-death = \"restart\", but the code has no function "
                            "'backdoor_cut' for calls that a process did not end; define it, or "
                            "use on-death = \"fail\"");
    if (backdoor->ops.state)
        backdoor->state = backdoor->ops.state(&backdoor->state_len);
    if (backdoor->ops.state && (!backdoor->state || backdoor->state_len == 0 ||
                                backdoor->state_len > OB_BACKDOOR_STATE_BYTES))
        return ob_fault_set(fault, -EINVAL, "backdoor_state: got %zu bytes, expected 1 to %u",
                            backdoor->state ? backdoor->state_len : 0, OB_BACKDOOR_STATE_BYTES);
    const size_t len = sizeof(backdoor->command) + backdoor->state_len;
    backdoor->kept = malloc(len);
    if (!backdoor->kept)
        return ob_fault_set(fault, -ENOMEM, "no memory for the state of the backdoor");
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = backdoor->kept,
                                        .len = len,
                                        .version = 1,
                                        .check = take_kept,
                                        .save = keep};
    return ob_vault_keep(backdoor->device, &kept);
}

static uint64_t round_up_to_power_of_two(uint64_t size)
{
    uint64_t power = 1;
    while (power < size)
        power *= 2;
    return power;
}

int backdoor_new(struct backdoor *backdoor, const struct ob_backdoor_ops *ops, unsigned pages,
                 struct ob_device **ret_device, struct ob_fault *fault)
{
    *backdoor = (struct backdoor){.ops = *ops, .size = (uint64_t)pages * BACKDOOR_PAGE};
    const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "backdoor",
        .vendor_id = 0x1af4,
        .device_id = 0x10f0,
        .subsystem_vendor_id = 0x1af4,
        .subsystem_id = 0x1100,
        .class_code = 0x050000,
        .bars = {[CONTROL_BAR] = {.kind = OB_BAR_MEM32, .size = BACKDOOR_PAGE},
                 [DATA_BAR] = {.kind = OB_BAR_MEM32,
                               .flags = OB_BAR_MEMORY,
                               .size = round_up_to_power_of_two(backdoor->size)}},
        .state_len = sizeof(backdoor->command),
        .state_version = 1,
    };
    const struct ob_device_ops device_ops = {.size = sizeof(device_ops),
                                             .read = read_control,
                                             .write = write_control,
                                             .reset = forget_command,
                                             .save = save,
                                             .load = load,
                                             .disconnected = forget_command};
    int err = ob_device_new(&desc, &device_ops, backdoor, &backdoor->device, fault);
    if (err < 0)
        return err;
    backdoor->data = ob_device_bar_memory(backdoor->device, DATA_BAR);
    err = name_state(backdoor, fault);
    if (err < 0) {
        ob_device_free(backdoor->device);
        free(backdoor->kept);
        return err;
    }
    *ret_device = backdoor->device;
    return 0;
}

void backdoor_done(struct backdoor *backdoor)
{
    if (backdoor->called && backdoor->ops.fini)
        backdoor->ops.fini();
    backdoor->called = false;
    free(backdoor->kept);
    backdoor->kept = NULL;
}
