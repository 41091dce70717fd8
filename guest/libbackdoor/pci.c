// SPDX-License-Identifier: BSD-3-Clause
/*
 * The backdoor as a PCI device, through sysfs (Documentation/PCI/sysfs-pci.rst in the Linux tree).
 *
 * The device is found by its ids, switched on when nobody has, and its BARs are mapped from the
 * files resource0 and resource1. From then on a command is a store and needs no system call.
 */
#include "channel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ids.h"

struct pci_device {
    const char *name; /* its address: 0000:00:03.0 */
    int folder;       /* its folder in sysfs, opened */
};

/* Reads a file of the device's folder. Returns the length, or -1. */
static ssize_t read_file(int folder, const char *name, off_t offset, void *ret_buf, size_t len)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got = pread(fd, ret_buf, len, offset);
    close(fd);
    return got;
}

/* Reads an id as the kernel has noted it, which a device that is dead by now can't change. */
static long read_id(int folder, const char *name)
{
    char text[16];
    ssize_t len = read_file(folder, name, 0, text, sizeof(text) - 1);
    text[len < 0 ? 0 : len] = '\0';
    return strtol(text, NULL, 16);
}

static bool is_backdoor(int folder, const struct backdoor_ids *ids)
{
    return read_id(folder, "vendor") == ids->vendor && read_id(folder, "device") == ids->device;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Finds the backdoor with the lowest address and opens its folder, or returns -1. */
static int find(const char *devices, const struct backdoor_ids *ids, char *ret_name)
{
    struct dirent **entries;
    int found = -1;
    int count = scandir(devices, &entries, is_visible, alphasort);
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s", devices, entries[i]->d_name);
        int folder = found < 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (folder >= 0 && is_backdoor(folder, ids)) {
            found = folder;
            snprintf(ret_name, CHANNEL_NAME_LEN, "%.*s", CHANNEL_NAME_LEN - 1, entries[i]->d_name);
        } else if (folder >= 0) {
            close(folder);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return found;
}

/* A driver of the kernel may be using the registers; two masters are one too many. */
static int check_driver(const struct pci_device *device, struct ob_fault *fault)
{
    char driver[PATH_MAX];
    ssize_t len = readlinkat(device->folder, "driver", driver, sizeof(driver) - 1);
    if (len < 0)
        return 0;
    driver[len] = '\0';
    const char *slash = strrchr(driver, '/');
    return ob_fault_set(fault, -EBUSY,
                        "the driver %.32s uses the backdoor %s; unbind it: echo %s "
                        ">/sys/bus/pci/devices/%s/driver/unbind",
                        slash ? slash + 1 : driver, device->name, device->name, device->name);
}

static bool decodes_memory(const struct pci_device *device)
{
    uint8_t command[2];
    return read_file(device->folder, "config", PCI_COMMAND, command, sizeof(command)) ==
               sizeof(command) &&
           command[0] & PCI_COMMAND_MEMORY;
}

static int deny(const struct pci_device *device, const char *file, int err, struct ob_fault *fault)
{
    if (err == -EACCES || err == -EPERM)
        return ob_fault_set(fault, -EACCES,
                            "no permission for %s of the backdoor %s; run this as root, or have "
                            "root change the owner of /sys/bus/pci/devices/%s/resource[01]",
                            file, device->name, device->name);
    return ob_fault_set(fault, err, "can't open %s of the backdoor %s: %s", file, device->name,
                        strerror(-err));
}

/* Opens the file of a BAR. Returns the descriptor or a negative errno. */
static int open_bar(const struct pci_device *device, unsigned bar, struct ob_fault *fault)
{
    char file[16];
    snprintf(file, sizeof(file), "resource%u", bar);
    int fd = openat(device->folder, file, O_RDWR | O_CLOEXEC);
    return fd < 0 ? deny(device, file, -errno, fault) : fd;
}

/* Firmware or an earlier user has switched the device on, mostly; else it is done here. */
static int enable(const struct pci_device *device, struct ob_fault *fault)
{
    if (decodes_memory(device))
        return 0;
    int fd = openat(device->folder, "enable", O_WRONLY | O_CLOEXEC);
    int err = fd < 0 || write(fd, "1", 1) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    if (err == -EACCES || err == -EPERM)
        return deny(device, "the file enable", err, fault);
    if (err == 0 && decodes_memory(device))
        return 0;
    return ob_fault_set(fault, -ENXIO,
                        "memory decoding of the backdoor %s is off and the kernel does not switch "
                        "it on%s%s; try: setpci -s %s COMMAND=2:2",
                        device->name, err < 0 ? ": " : "", err < 0 ? strerror(-err) : "",
                        device->name);
}

static int refuse_mapping(const struct pci_device *device, unsigned bar, int err,
                          struct ob_fault *fault)
{
    if (err == -EPERM || err == -EACCES)
        return ob_fault_set(fault, -EACCES,
                            "the kernel does not let BAR %u of the backdoor %s be mapped: it is "
                            "locked down (kernel_lockdown(7)); switch Secure Boot or lockdown off",
                            bar, device->name);
    return ob_fault_set(fault, err, "can't map BAR %u of the backdoor %s: %s", bar, device->name,
                        strerror(-err));
}

static int map_bar(const struct pci_device *device, unsigned bar, int fd,
                   volatile void **ret_address, size_t *ret_len, struct ob_fault *fault)
{
    struct stat status = {0};
    if (fstat(fd, &status) < 0 || status.st_size < 4096 ||
        (uint64_t)status.st_size > LIMIT_DATA_LEN)
        return ob_fault_set(fault, -EPROTO,
                            "BAR %u of the backdoor %s: got %lld bytes, which no backdoor has; "
                            "replace its process on the host, which is faulty",
                            bar, device->name, (long long)status.st_size);
    void *address = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED)
        return refuse_mapping(device, bar, -errno, fault);
    *ret_address = address;
    *ret_len = (size_t)status.st_size;
    return 0;
}

/* Opens and maps both BARs; processes lock the file of BAR 0. */
static int map_bars(const struct pci_device *device, struct ob_backdoor *backdoor,
                    struct ob_fault *fault)
{
    int fd = open_bar(device, CONTROL_BAR, fault);
    if (fd < 0)
        return fd;
    backdoor->lock_fd = fd;
    channel_lock(backdoor);
    int err = enable(device, fault);
    channel_unlock(backdoor);
    if (err == 0)
        err =
            map_bar(device, CONTROL_BAR, fd, &backdoor->registers, &backdoor->registers_len, fault);
    if (err < 0)
        return err;
    fd = open_bar(device, DATA_BAR, fault);
    if (fd < 0)
        return fd;
    err = map_bar(device, DATA_BAR, fd, &backdoor->data, &backdoor->data_len, fault);
    close(fd);
    return err;
}

/* The register as the machine's widest stores see it: one of 64 bits, or two of 32 of which the
 * higher one ends the command. */
static int call(struct ob_backdoor *backdoor, uint64_t command, struct ob_fault *fault)
{
#if UINTPTR_MAX > UINT32_MAX
    *(volatile uint64_t *)backdoor->registers = command;
#else
    uint32_t half[2];
    memcpy(half, &command, sizeof(command));
    volatile uint32_t *registers = backdoor->registers;
    registers[0] = half[0];
    registers[1] = half[1];
#endif
    return 0;
}

static int read_size(struct ob_backdoor *backdoor, uint64_t *ret_size, struct ob_fault *fault)
{
#if UINTPTR_MAX > UINT32_MAX
    *ret_size = *(volatile uint64_t *)backdoor->registers;
#else
    volatile uint32_t *registers = backdoor->registers;
    const uint32_t half[2] = {registers[0], registers[1]};
    memcpy(ret_size, half, sizeof(*ret_size));
#endif
    return 0;
}

static void let_go(struct ob_backdoor *backdoor)
{
    if (backdoor->registers)
        munmap((void *)backdoor->registers, backdoor->registers_len);
    if (backdoor->lock_fd >= 0)
        close(backdoor->lock_fd);
}

static const struct channel_ops pci_ops = {
    .call = call,
    .read_size = read_size,
    .close = let_go,
};

int pci_channel_open(struct ob_backdoor *backdoor, const char *folder, struct ob_fault *fault)
{
    struct backdoor_ids ids;
    backdoor->ops = &pci_ops;
    int err = backdoor_ids(&ids, fault);
    if (err < 0)
        return err;
    const struct pci_device device = {.name = backdoor->name,
                                      .folder = find(folder, &ids, backdoor->name)};
    if (device.folder < 0)
        return ob_fault_set(fault, -ENODEV,
                            "no backdoor: found no PCI device %04x:%04x, and OUTBOARD_BACKDOOR is "
                            "not set; add the device to this machine, or set the variable to the "
                            "socket of an outboard-backdoor --wire=vfio-user",
                            ids.vendor, ids.device);
    err = check_driver(&device, fault);
    if (err == 0)
        err = map_bars(&device, backdoor, fault);
    if (err == 0)
        err = channel_learn_size(backdoor, fault);
    close(device.folder);
    return err;
}
