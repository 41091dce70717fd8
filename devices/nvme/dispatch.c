// SPDX-License-Identifier: BSD-3-Clause
#include "dispatch.h"

#include "admin.h"
#include "io.h"
#include "nvme.h"

void dispatch(struct nvme_request *request)
{
    if (request->transfer)
        io_execute(request);
    else
        admin_execute(request);
}

static bool must_wait(const struct nvme_request *request)
{
    return request->transfer && request->ns && request->ns->block->away;
}

void dispatch_parked(struct nvme *nvme)
{
    struct nvme_request *next;
    for (struct nvme_request *request = requests_unpark(nvme); request; request = next) {
        next = request->next;
        if (must_wait(request))
            request_park(request);
        else
            dispatch(request);
    }
}
