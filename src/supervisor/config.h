// SPDX-License-Identifier: BSD-3-Clause
/*
 * Configuration: a virtual machine and its devices, in the form of QEMU's -readconfig:
 *
 *     [machine]
 *       memory = "1G"
 *     [device "disk0"]
 *       program = "nvme"
 *       image = "disk.img"
 *     [channel "agent"]
 *       arguments = "--allow-run"
 *
 * A file becomes sections of settings, in their order. The plan (plan.h) knows the
 * meaning of each key. A key may occur several times.
 */
#ifndef OUTBOARD_SUPERVISOR_CONFIG_H
#define OUTBOARD_SUPERVISOR_CONFIG_H

#include <outboard/fault.h>
#include <stdbool.h>
#include <stddef.h>

struct config_setting {
    char *key, *value;
    unsigned line;
};

struct config_section {
    char *id; /* "" for [machine] */
    bool is_channel;
    unsigned line;
    struct config_setting *settings;
    unsigned count;
};

struct config {
    char *path;
    struct config_section machine;  /* line 0: the file has no such section */
    struct config_section *devices; /* and channels */
    unsigned device_count;
};

/* Reads a file. 0; -EINVAL with the line, the key and the expectation; or another negative errno.
 */
int config_read(const char *path, struct config **ret_config, struct ob_fault *fault);
/* NULL is fine. */
void config_free(struct config *config);

/* Whether it is a name that a device may have. */
bool config_is_id(const char *text, size_t len);

/* Adds a setting to a section that is not of a file; its line is 0. 0 or -ENOMEM. */
int config_section_add(struct config_section *section, const char *key, const char *value);
/* Frees the contents of a section. */
void config_section_done(struct config_section *section);

/* The last setting of a key; NULL: the section has no such key. */
const struct config_setting *config_find(const struct config_section *section, const char *key);
/* The last value of a key; NULL: the section has no such key. */
const char *config_value(const struct config_section *section, const char *key);

#endif
