// SPDX-License-Identifier: BSD-3-Clause
/*
 * A vfio-user remote's description of itself: the payloads of the questions, and the answers as far as
 * they make sense. Answers are the remote's word; the used parts are bounded here.
 */
#ifndef OUTBOARD_CLIENT_VFIO_USER_INFO_H
#define OUTBOARD_CLIENT_VFIO_USER_INFO_H

#include <outboard/client.h>
#include <outboard/fault.h>

#include "base/limits.h"
#include "wire/vfio_user.h"

/* The properties of a remote that a client uses; section "Device info". */
struct client_device {
    unsigned num_regions; /* at most VFIO_PCI_NUM_REGIONS */
    unsigned num_irqs;    /* at most VFIO_PCI_NUM_IRQS */
    bool can_reset;
};

struct client_area {
    uint64_t offset; /* from the start of the region */
    uint64_t len;
};

struct client_region {
    uint64_t size;
    uint32_t flags;       /* VFIO_REGION_INFO_FLAG_* */
    uint64_t file_offset; /* of the region in the descriptor that came with it */
    unsigned num_areas;   /* that can be mapped */
    struct client_area areas[LIMIT_CLIENT_AREAS];
};

/* Bytes of the longest answer about a region that is read. */
#define CLIENT_REGION_INFO_LEN (VFIO_USER_REGION_INFO_LEN + 16 + 16 * LIMIT_CLIENT_AREAS + 64)

/* Each parse gets the payload of an answer and returns 0 or -EPROTO with the fault filled. */

/* Takes the answer to our VERSION: the abilities of both sides. */
int vfio_user_agreement_parse(const uint8_t *buf, size_t len,
                              const struct vfio_user_capabilities *offered,
                              struct vfio_user_capabilities *ret_agreed, struct ob_fault *fault);
int vfio_user_device_parse(const uint8_t *buf, size_t len, struct client_device *ret_device,
                           struct ob_fault *fault);
/* `index` is the region that was asked about. Capabilities that are not known, or that do not fit
 * the buffer, are passed over; so are areas beyond LIMIT_CLIENT_AREAS. */
int vfio_user_region_parse(const uint8_t *buf, size_t len, unsigned index,
                           struct client_region *ret_region, struct ob_fault *fault);
int vfio_user_irqs_parse(const uint8_t *buf, size_t len, unsigned index, uint32_t *ret_count,
                         struct ob_fault *fault);
/* Fills at most max eventfds, with the numbers of descriptors in `fd`, each below num_fds. */
int vfio_user_eventfds_parse(const uint8_t *buf, size_t len, unsigned index, unsigned num_fds,
                             struct ob_client_eventfd *ret_eventfds, unsigned max,
                             unsigned *ret_count, struct ob_fault *fault);

#endif
