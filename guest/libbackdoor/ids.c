// SPDX-License-Identifier: BSD-3-Clause
#include "ids.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/backdoor.h>

#define HEX "0123456789abcdefABCDEF"

/* VENDOR:DEVICE, one to four digits each. */
static bool are_ids(const char *text)
{
    size_t vendor_len = strspn(text, HEX);
    if (vendor_len < 1 || vendor_len > 4 || text[vendor_len] != ':')
        return false;
    const char *device = text + vendor_len + 1;
    size_t device_len = strspn(device, HEX);
    return device_len >= 1 && device_len <= 4 && device[device_len] == '\0';
}

int backdoor_ids(struct backdoor_ids *ret_ids, struct ob_fault *fault)
{
    struct backdoor_ids ids = {.vendor = 0x1af4, .device = 0x10f0};
    /* Who starts a set-user-ID program sets its environment, and must not choose its device. */
    const char *text = secure_getenv(OB_BACKDOOR_PCI_ID_ENVIRONMENT);
    if (text && *text &&
        !(are_ids(text) && sscanf(text, "%" SCNx16 ":%" SCNx16, &ids.vendor, &ids.device) == 2))
        return ob_fault_set(fault, -EINVAL,
                            OB_BACKDOOR_PCI_ID_ENVIRONMENT
                            ": got '%.40s', expected VENDOR:DEVICE in hexadecimal, as 1af4:10f0",
                            text);
    *ret_ids = ids;
    return 0;
}
