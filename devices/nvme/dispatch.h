// SPDX-License-Identifier: BSD-3-Clause
/* Dispatch: a command goes to the file that carries it out. */
#ifndef OUTBOARD_DEVICES_NVME_DISPATCH_H
#define OUTBOARD_DEVICES_NVME_DISPATCH_H

struct nvme;
struct nvme_request;

/* Carries the command out, from its start. */
void dispatch(struct nvme_request *request);
/* Carries out parked commands that need not wait any longer. */
void dispatch_parked(struct nvme *nvme);

#endif
