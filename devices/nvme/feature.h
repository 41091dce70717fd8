// SPDX-License-Identifier: BSD-3-Clause
/* Features, section 5.21: settings of the controller, none of which outlives a reset. */
#ifndef OUTBOARD_DEVICES_NVME_FEATURE_H
#define OUTBOARD_DEVICES_NVME_FEATURE_H

#include <stdbool.h>
#include <stdint.h>

#include "request.h"

struct nvme_features {
    uint32_t value[NVME_FEATURE_COUNT];
    uint16_t temperature[2];          /* over, under; kelvin */
    bool no_coalescing[NVME_VECTORS]; /* Interrupt Vector Configuration */
};

void features_reset(struct nvme *nvme);
/* Whether a guest can have set them so. */
bool features_are_possible(const struct nvme_features *features);
void features_get(struct nvme_request *request);
void features_set(struct nvme_request *request);

bool features_write_cache(const struct nvme *nvme);
bool features_namespace_notices(const struct nvme *nvme);

#endif
