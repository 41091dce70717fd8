// SPDX-License-Identifier: BSD-3-Clause
#include "base/pci_id.h"

#include <errno.h>
#include <stddef.h>

#define NO_VENDOR  0xffffu
#define MAX_DIGITS 4u

static int digit(char letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    letter |= 0x20; /* small */
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Reads an id up to the character that ends it. Returns the rest behind it, or NULL. */
static const char *read_id(const char *text, char end, uint16_t *ret_id)
{
    unsigned id = 0, digits = 0;
    for (; digits < MAX_DIGITS && digit(*text) >= 0; text++, digits++)
        id = id * 16 + (unsigned)digit(*text);
    if (digits == 0 || *text != end)
        return NULL;
    *ret_id = (uint16_t)id;
    return text + 1;
}

int pci_id_parse(const char *text, uint16_t *ret_vendor_id, uint16_t *ret_device_id)
{
    uint16_t vendor_id, device_id;
    const char *rest = read_id(text, ':', &vendor_id);
    if (!rest || !read_id(rest, '\0', &device_id) || vendor_id == NO_VENDOR)
        return -EINVAL;
    *ret_vendor_id = vendor_id;
    *ret_device_id = device_id;
    return 0;
}
