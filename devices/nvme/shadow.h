// SPDX-License-Identifier: BSD-3-Clause
/*
 * Shadow doorbells, sections 5.7 and 7.13: two pages of guest memory by which a guest is spared
 * most writes to doorbell registers, each of which leaves the VM and takes a message.
 *
 * The guest writes each doorbell to its place in the first page. It writes the register too only
 * when the value passes the one in the same place of the second page, the event index, which is
 * ours. While the server polls, we look at the first page often enough, and keep the event index
 * just behind the doorbell, where nothing passes it. Before the server waits, shadow_listen() puts
 * it onto the doorbell, so that the next change is told, and looks once more: it sees changes that the guest made
 * before it could see the index.
 *
 *            looks            the guest moves its tail
 *   index   t - 1   t            no register is written
 *   index           t            the register is written: the server wakes
 *          listens
 *
 * Each value of the pages is read once each time and checked as a register's value is. The admin queue
 * keeps to its registers: Linux leaves it out, so its index always asks for the write.
 */
#ifndef OUTBOARD_DEVICES_NVME_SHADOW_H
#define OUTBOARD_DEVICES_NVME_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

struct nvme;
struct nvme_request;

struct nvme_shadow {
    bool on;
    uint64_t doorbells; /* guest addresses of the two pages */
    uint64_t events;
};

/* Doorbell Buffer Config. */
void shadow_configure(struct nvme_request *request);
/* Back to registers alone, as after a reset of the controller. */
void shadow_reset(struct nvme *nvme);

/* The guest has written a doorbell of the admin queue: the next change is to be told too. */
void shadow_follow_admin(struct nvme *nvme);
/* Takes doorbells that have changed. Returns whether there were any. */
bool shadow_look(struct nvme *nvme);
/* The guest has written a doorbell of another queue. Where the VMM takes that for the end of INTx,
 * the level must fall now: the next message asks for it. */
void shadow_hear(struct nvme *nvme, uint64_t index);
/* Has the guest write registers from now on, and looks. */
bool shadow_listen(struct nvme *nvme);

#endif
