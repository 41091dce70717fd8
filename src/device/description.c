// SPDX-License-Identifier: BSD-3-Clause
#include "device/description.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/limits.h"

#define NO_VENDOR      0xffffu
#define LAST_CLASS     0xffffffu
#define CAN_BE_SAVED   "save(), load() and state_len make a device that can be saved: "
#define KNOWN_BAR_FLAG (OB_BAR_PREFETCHABLE | OB_BAR_MEMORY)

/* The name stands in lines of logs and in saved states. */
static int check_name(const struct ob_device_desc *desc, struct ob_fault *fault)
{
    if (!desc->name || !*desc->name)
        return ob_fault_set(fault, -EINVAL, "the device has no name: set ob_device_desc.name");
    size_t len = strnlen(desc->name, LIMIT_NAME_BYTES + 1);
    if (len > LIMIT_NAME_BYTES)
        return ob_fault_set(fault, -EINVAL, "the device's name has more than %u bytes",
                            LIMIT_NAME_BYTES);
    for (size_t i = 0; i < len; i++)
        if (desc->name[i] < ' ' || desc->name[i] > '~')
            return ob_fault_set(fault, -EINVAL,
                                "the device's name has byte 0x%02x at offset %zu, which is not "
                                "printable ASCII",
                                (unsigned char)desc->name[i], i);
    return 0;
}

static int check_ids(const struct ob_device_desc *desc, struct ob_fault *fault)
{
    if (desc->vendor_id == NO_VENDOR)
        return ob_fault_set(
            fault, -EINVAL,
            "%s: vendor_id: got 0xffff, which tells a guest that there is no device; set another",
            desc->name);
    if (desc->class_code > LAST_CLASS)
        return ob_fault_set(fault, -EINVAL,
                            "%s: class_code: got 0x%" PRIx32 ", expected at most 24 bits",
                            desc->name, desc->class_code);
    return 0;
}

/* The fields that check_bar() of src/pci does not check, since no layout depends on them. */
static int check_bar(const struct ob_device_desc *desc, unsigned index, struct ob_fault *fault)
{
    const struct ob_bar *bar = &desc->bars[index];
    bool has_range = bar->memory.offset || bar->memory.len;
    if (bar->kind == OB_BAR_NONE && (bar->size || bar->flags || has_range))
        return ob_fault_set(fault, -EINVAL,
                            "%s: BAR %u has a size or flags and no kind: set ob_bar.kind",
                            desc->name, index);
    if (bar->flags & ~(unsigned)KNOWN_BAR_FLAG)
        return ob_fault_set(fault, -EINVAL, "%s: BAR %u has the unknown flags 0x%x", desc->name,
                            index, bar->flags & ~(unsigned)KNOWN_BAR_FLAG);
    if (has_range && !(bar->flags & OB_BAR_MEMORY))
        return ob_fault_set(fault, -EINVAL,
                            "%s: BAR %u has a range of memory without OB_BAR_MEMORY; set that flag",
                            desc->name, index);
    if (bar->memory.offset && !bar->memory.len)
        return ob_fault_set(fault, -EINVAL, "%s: the memory of BAR %u has an offset and no length",
                            desc->name, index);
    return 0;
}

static int check_doorbells(const struct ob_device_desc *desc, const struct ob_device_ops *ops,
                           struct ob_fault *fault)
{
    if (desc->num_doorbells == 0)
        return 0;
    if (!desc->doorbells)
        return ob_fault_set(fault, -EINVAL, "%s: num_doorbells is %u and doorbells is NULL",
                            desc->name, desc->num_doorbells);
    if (!ops->doorbell)
        return ob_fault_set(fault, -EINVAL,
                            "%s: got %u doorbells without a doorbell() callback; set it",
                            desc->name, desc->num_doorbells);
    return 0;
}

static int check_state(const struct ob_device_desc *desc, const struct ob_device_ops *ops,
                       struct ob_fault *fault)
{
    if (desc->state_len == 0)
        return 0;
    if (!ops->save || !ops->load)
        return ob_fault_set(fault, -EINVAL, "%s: " CAN_BE_SAVED "%s() is missing", desc->name,
                            ops->save ? "load" : "save");
    if (desc->state_len > LIMIT_STATE_BYTES)
        return ob_fault_set(fault, -EINVAL, "%s: state_len: got %zu, expected at most %u",
                            desc->name, desc->state_len, LIMIT_STATE_BYTES);
    return 0;
}

int description_check(const struct ob_device_desc *desc, const struct ob_device_ops *ops,
                      struct ob_fault *fault)
{
    if (!desc || !ops)
        return ob_fault_set(fault, -EINVAL, "the device has no %s: it is NULL",
                            desc ? "operations" : "description");
    int err = check_name(desc, fault);
    if (err == 0)
        err = check_ids(desc, fault);
    for (unsigned i = 0; i < OB_BAR_COUNT && err == 0; i++)
        err = check_bar(desc, i, fault);
    if (err == 0)
        err = check_doorbells(desc, ops, fault);
    return err < 0 ? err : check_state(desc, ops, fault);
}
