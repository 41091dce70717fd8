// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_outside.h"

#include "sandbox/outsider.h"

void nbd_outside_confine(const struct nbd_uri *uri, bool keeps_proc)
{
    const bool has_names = uri->host[0];
    const struct outsider_plan plan = {
        .dials = has_names,
        .dials_abstract = !has_names && !uri->path.sun_path[0],
        .reads_files = has_names,
        .loads_libraries = has_names,
        .looks_at_itself = keeps_proc,
    };
    outsider_confine(&plan); /* as far as the kernel can */
}
