// SPDX-License-Identifier: BSD-3-Clause
/*
 * Configuration space as people read it. A device's description of itself is not believed: the list of
 * capabilities may loop or lead out of the header, and is followed as far as it makes sense.
 *
 * Source: PCI Local Bus Specification 3.0, chapter 6; PCI Code and ID Assignment Specification.
 */
#ifndef OUTBOARD_PROGRAMS_CONFIG_SPACE_H
#define OUTBOARD_PROGRAMS_CONFIG_SPACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

#define CONFIG_LEN 256u

struct capability {
    uint8_t id;
    uint8_t offset;
    char name[32];
    char details[128]; /* in lspci's words; may be empty */
};

struct capabilities {
    struct capability list[LIMIT_PCI_CAPABILITIES];
    unsigned count;
};

/* A bit of the command or the status register, under lspci's name. */
struct config_bit {
    uint16_t mask;
    const char *name;
};

/* Both end with an entry without a name. */
extern const struct config_bit command_bits[];
extern const struct config_bit status_bits[];

uint32_t config_get(const uint8_t *config, unsigned offset, unsigned size);
void capabilities_read(const uint8_t *config, struct capabilities *ret_capabilities);
/* Of a class code of three bytes: the name of its base class. */
const char *class_name(uint32_t class_code);

#endif
