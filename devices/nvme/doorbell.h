// SPDX-License-Identifier: BSD-3-Clause
/*
 * Doorbells, sections 3.1.24 and 3.1.25: for queue y, the tail of submission queue y and behind it
 * the head of completion queue y. An impossible value is told by an asynchronous event.
 */
#ifndef OUTBOARD_DEVICES_NVME_DOORBELL_H
#define OUTBOARD_DEVICES_NVME_DOORBELL_H

#include <stdint.h>

struct nvme;

/* Takes the value of a doorbell, wherever the guest wrote it. index: twice the queue's number, and
 * one more for the head. */
void doorbell_ring(struct nvme *nvme, uint64_t index, uint32_t value);

#endif
