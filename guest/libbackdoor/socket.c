// SPDX-License-Identifier: BSD-3-Clause
/*
 * The backdoor without a virtual machine: a process on the same machine, behind a socket.
 *
 * It is the very device that a guest would see, so it is set up as a guest's would be: ids checked,
 * memory decoding switched on, BAR 1 mapped. BAR 0 is reached by messages; the reply to a write
 * comes when the host's code has returned. The data channel is shared memory that the server may
 * not shrink, or reading it could kill us.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ids.h"
#include "unwanted.h"

static int check_ids(struct ob_backdoor *backdoor, struct ob_fault *fault)
{
    struct backdoor_ids wanted;
    uint8_t ids[4];
    int err = backdoor_ids(&wanted, fault);
    if (err < 0)
        return err;
    err =
        vfio_user_read(&backdoor->user, VFIO_USER_CONFIG_REGION, PCI_IDS, ids, sizeof(ids), fault);
    if (err < 0)
        return err;
    unsigned vendor_id = ids[0] | (unsigned)ids[1] << 8;
    unsigned device_id = ids[2] | (unsigned)ids[3] << 8;
    if (vendor_id != wanted.vendor || device_id != wanted.device)
        return ob_fault_set(fault, -ENODEV,
                            "the device at %s: expected a backdoor (%04x:%04x), got %04x:%04x; set "
                            "OUTBOARD_BACKDOOR to the socket of outboard-backdoor",
                            backdoor->name, wanted.vendor, wanted.device, vendor_id, device_id);
    return 0;
}

static int enable(struct ob_backdoor *backdoor, struct ob_fault *fault)
{
    const uint8_t command[2] = {PCI_COMMAND_MEMORY, 0};
    return vfio_user_write(&backdoor->user, VFIO_USER_CONFIG_REGION, PCI_COMMAND, command,
                           sizeof(command), fault);
}

/* Why a descriptor can't be the data channel, or NULL. */
static const char *objection(int fd, const struct vfio_user_region *region)
{
    struct stat status;
    if (fd < 0 || !(region->flags & VFIO_USER_REGION_MMAP))
        return "it has no shared memory";
    if (region->size < 4096 || region->size % 4096 || region->size > LIMIT_DATA_LEN ||
        region->offset % 4096)
        return "its size or place is impossible";
    int seals = fcntl(fd, F_GET_SEALS); /* first: a file without seals may block fstat() */
    if (seals < 0)
        return "its descriptor is not a memfd";
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size < 0 ||
        (uint64_t)status.st_size < region->size ||
        region->offset > (uint64_t)status.st_size - region->size)
        return "its memory is shorter than its size";
    if (!(seals & F_SEAL_SHRINK))
        return "its memory is not sealed";
    return NULL;
}

static int map_data(struct ob_backdoor *backdoor, struct ob_fault *fault)
{
    struct vfio_user_region region;
    int fd;
    int err = vfio_user_get_region(&backdoor->user, DATA_BAR, &region, &fd, fault);
    if (err < 0)
        return err;
    const char *wrong = objection(fd, &region);
    void *address = MAP_FAILED;
    if (wrong)
        err = ob_fault_set(fault, -EPROTO, "the data channel of the backdoor at %s is refused: %s",
                           backdoor->name, wrong);
    else
        address = mmap(NULL, (size_t)region.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                       (off_t)region.offset);
    if (err == 0 && address == MAP_FAILED)
        err = ob_fault_set(fault, -errno, "can't map the data channel of the backdoor at %s: %s",
                           backdoor->name, strerror(errno));
    unwanted_close(fd);
    if (err < 0)
        return err;
    backdoor->data = address;
    backdoor->data_len = (size_t)region.size;
    return 0;
}

static int call(struct ob_backdoor *backdoor, uint64_t command, struct ob_fault *fault)
{
    return vfio_user_write(&backdoor->user, CONTROL_BAR, 0, &command, sizeof(command), fault);
}

static int read_size(struct ob_backdoor *backdoor, uint64_t *ret_size, struct ob_fault *fault)
{
    return vfio_user_read(&backdoor->user, CONTROL_BAR, 0, ret_size, sizeof(*ret_size), fault);
}

static void disconnect(struct ob_backdoor *backdoor)
{
    vfio_user_close(&backdoor->user);
}

static const struct channel_ops socket_ops = {
    .call = call,
    .read_size = read_size,
    .close = disconnect,
};

int socket_channel_open(struct ob_backdoor *backdoor, const char *path, struct ob_fault *fault)
{
    backdoor->ops = &socket_ops;
    snprintf(backdoor->name, sizeof(backdoor->name), "%s", path);
    backdoor->user = (struct vfio_user){.name = backdoor->name, .fd = -1};
    int err = vfio_user_connect(&backdoor->user, path, fault);
    if (err == 0)
        err = check_ids(backdoor, fault);
    if (err == 0)
        err = enable(backdoor, fault);
    if (err == 0)
        err = map_data(backdoor, fault);
    if (err == 0)
        err = channel_learn_size(backdoor, fault);
    if (err == 0)
        err = vfio_user_wait_forever(&backdoor->user, fault);
    return err;
}
