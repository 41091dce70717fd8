// SPDX-License-Identifier: BSD-3-Clause
#include "agent/block_device.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/job.h"

/* The address of a disk. Unknown numbers are -1; unknown bus, target and unit are 0. */
struct place {
    int domain, bus_number, slot, function;
    const char *bus_type;
    int bus, target, unit;
};

bool block_device_folder(const char *path, char ret_folder[BLOCK_PATH_MAX])
{
    return realpath(path, ret_folder);
}

bool block_device_node(const char *folder, char *ret_node, size_t size)
{
    char path[BLOCK_PATH_MAX + 16], text[4096];
    snprintf(path, sizeof(path), "%s/uevent", folder);
    if (job_read_file(path, text, sizeof(text)) < 0)
        return false;
    const char *name = strstr(text, "DEVNAME=");
    if (!name)
        return false;
    name += strlen("DEVNAME=");
    snprintf(ret_node, size, "/dev/%.*s", (int)strcspn(name, "\n"), name);
    return true;
}

bool block_device_is_virtual(const char *folder)
{
    return strstr(folder, "/devices/virtual/");
}

/* The name of the driver of the device at the first len bytes of a folder; "" without a driver. */
static const char *find_driver(const char *folder, size_t len, char ret_name[NAME_MAX])
{
    char path[BLOCK_PATH_MAX + 16], target[BLOCK_PATH_MAX];
    snprintf(path, sizeof(path), "%.*s/driver", (int)len, folder);
    ssize_t got = readlink(path, target, sizeof(target) - 1);
    target[got > 0 ? got : 0] = '\0';
    const char *name = strrchr(target, '/');
    snprintf(ret_name, NAME_MAX, "%.200s", name ? name + 1 : "");
    return ret_name;
}

static const struct driver {
    const char *name;
    const char *bus_type;
} drivers[] = {
    {"ata_piix", "ide"}, {"sym53c8xx", "scsi"}, {"virtio-pci", "virtio"}, {"ahci", "sata"},
    {"nvme", "nvme"},    {"xhci_hcd", "usb"},   {"ehci-pci", "usb"},
};

static const struct driver *match_driver(const char *folder, size_t len)
{
    char name[NAME_MAX];
    find_driver(folder, len, name);
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        if (strcmp(drivers[i].name, name) == 0)
            return &drivers[i];
    }
    return NULL;
}

/* Which of its controller's ports a host of ATA is: their numbers are the system's. -1: none. */
static int find_port(const char *folder, const char *host, const char *prefix)
{
    char parent[BLOCK_PATH_MAX];
    int number, other, port = 0;
    if (sscanf(host + 1 + strlen(prefix), "%d", &number) != 1)
        return -1;
    snprintf(parent, sizeof(parent), "%.*s", (int)(host - folder), folder);
    DIR *hosts = opendir(parent);
    if (!hosts)
        return -1;
    for (struct dirent *entry; (entry = readdir(hosts));) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            sscanf(entry->d_name + strlen(prefix), "%d", &other) == 1 && other < number)
            port++;
    }
    closedir(hosts);
    return port;
}

/* Fills bus type, bus and unit by the rules of the driver's bus. */
static void find_unit(const char *folder, const struct driver *driver, struct place *place)
{
    int target[3] = {0};
    const char *at = strstr(folder, "/target");
    bool has_target = at && sscanf(at, "/target%*d:%*d:%*d/%*d:%d:%d:%d", &target[0], &target[1],
                                   &target[2]) == 3;
    const char *prefix = strstr(folder, "/ata") ? "ata" : "host";
    const char *host = strstr(folder, prefix[0] == 'a' ? "/ata" : "/host");
    int port = host ? find_port(folder, host, prefix) : -1;
    place->bus_type = driver->bus_type;
    if (strcmp(driver->name, "virtio-pci") == 0 && has_target) {
        place->bus_type = "scsi";
        place->unit = target[2];
    } else if (strcmp(driver->name, "sym53c8xx") == 0) {
        place->unit = target[1];
    } else if (strcmp(driver->name, "ata_piix") == 0) {
        place->bus = port;
        place->unit = target[1];
    } else if (strcmp(driver->name, "ahci") == 0) {
        place->unit = port;
    }
}

/* The first PCI device on the way to it that has a driver of disks; else the last one. */
static void find_place(const char *folder, struct place *place)
{
    const char *at = strstr(folder, "/devices/pci");
    int len = 0;
    *place = (struct place){-1, -1, -1, -1, "unknown", 0, 0, 0};
    if (!at || sscanf(at, "/devices/pci%*x:%*x%n", &len) != 0 || len == 0)
        return;
    at += len;
    unsigned domain, bus, slot, function;
    while (sscanf(at, "/%x:%x:%x.%x%n", &domain, &bus, &slot, &function, &len) == 4) {
        at += len;
        const struct driver *driver = match_driver(folder, (size_t)(at - folder));
        if (!driver)
            continue;
        *place =
            (struct place){(int)domain, (int)bus, (int)slot, (int)function, "unknown", 0, 0, 0};
        find_unit(folder, driver, place);
        return;
    }
}

/* The serial number that sysfs has for NVMe and virtio, without spaces at its end. */
static void put_serial(struct json_out *out, const char *folder)
{
    static const char *const files[] = {"serial", "device/serial", "../serial", "../device/serial"};
    char path[BLOCK_PATH_MAX + 32], text[256];
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        int len = job_read_file(path, text, sizeof(text));
        while (len > 0 && text[len - 1] == ' ')
            text[--len] = '\0';
        if (len > 0) {
            json_out_member_string(out, "serial", text);
            return;
        }
    }
}

void block_device_put_address(struct json_out *out, const char *folder, const char *node)
{
    struct place place;
    find_place(folder, &place);
    json_out_begin(out, '{');
    put_serial(out, folder);
    json_out_member_string(out, "bus-type", place.bus_type);
    json_out_member_int(out, "bus", place.bus);
    json_out_member_int(out, "unit", place.unit);
    json_out_name(out, "pci-controller");
    json_out_begin(out, '{');
    json_out_member_int(out, "bus", place.bus_number);
    json_out_member_int(out, "slot", place.slot);
    json_out_member_int(out, "domain", place.domain);
    json_out_member_int(out, "function", place.function);
    json_out_end(out, '}');
    if (node)
        json_out_member_string(out, "dev", node);
    json_out_member_int(out, "target", place.target);
    json_out_end(out, '}');
}
