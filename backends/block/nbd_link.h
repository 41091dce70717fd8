// SPDX-License-Identifier: BSD-3-Clause
/*
 * The connection to an NBD server: made at start, used asynchronously, lost, made again.
 *
 *   UP --server gone, or shut down--> LOST --close--> DOWN --dial--> OPENING --> UP
 *
 * LOST: libnbd has ended all commands, whose callbacks have been called. OPENING: a thread dials; a
 * server that does not answer then either is left again.
 *
 * An UP link does a bounded number of steps at a time: libnbd takes one reply, or one chunk of one,
 * in each, and a server can send chunks without end.
 *
 * If the device outlives its process, libnbd makes the connection and nbd_data.h uses it.
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_NBD_LINK_H
#define OUTBOARD_BACKENDS_BLOCK_NBD_LINK_H

#include <libnbd.h>

#include <outboard/watch.h>

#include "block/block.h"
#include "block/nbd_data.h"
#include "block/nbd_dial.h"

/* Steps of libnbd before the loop has its turn again. */
#define NBD_STEPS 64u

/* How long the start of the program waits for a server, and a link that is made again,
 * milliseconds. */
#define NBD_START_MS 20000u
#define NBD_DIAL_MS  10000u

/* The length that every server takes, in bytes, unless it says otherwise; and the largest length
 * of 32 bits. */
#define NBD_USUAL_LEN   (UINT64_C(32) << 20)
#define NBD_LONGEST_LEN UINT64_C(0xffffffff)

enum nbd_link_state {
    NBD_DOWN = 0,
    NBD_OPENING,
    NBD_UP,
    NBD_LOST,
};

/* Size and abilities of an export. */
struct nbd_export {
    uint64_t size; /* bytes */
    uint64_t min_block;
    uint64_t max_data;   /* of a read or write, whole blocks */
    uint64_t max_effect; /* of zeroes or a trim, which have no data; whole blocks */
    bool has_fua;
    bool has_zero;
    bool can_trim;
};

struct nbd_link {
    enum nbd_link_state state;
    struct nbd_handle *handle; /* UP, LOST */
    struct nbd_data *data;     /* likewise, with memory */
    struct nbd_memory memory;  /* .shared: NULL if the device ends with its process */
    nbd_completed_fn completed;
    struct nbd_dial *dial; /* OPENING */
    struct nbd_connector *connector;
    struct block_options options;
    struct nbd_export export;
    uint64_t patient_until_ms; /* OPENING */
    struct ob_device *device;
    int watched_fd; /* -1: none */
    unsigned watched_events;
    ob_watch_fn ready;
    void *argument;
};

/* Opens the link and waits for it, NBD_START_MS at most. 0, or a negative errno with the fault
 * filled. */
int nbd_link_open(struct nbd_link *link, const struct block_options *options,
                  nbd_completed_fn completed, struct ob_fault *fault);
/* Sends a command over a link that is UP; completed(argument, ...) tells of its end. 0, or -1 if it can't be sent. */
int nbd_link_ask(struct nbd_link *link, const struct nbd_command *command, void *argument);
/* The connection's socket, or -1. */
int nbd_link_socket(const struct nbd_link *link);
/* Begins to open a link that is DOWN, or gives one up that has been OPENING for too long; to be
 * called now and then. */
void nbd_link_retry(struct nbd_link *link);
/* It can be opened again by nbd_link_retry(). */
void nbd_link_close(struct nbd_link *link);
/* Closes it for good. */
void nbd_link_done(struct nbd_link *link);

/* Has ready(argument) called on the device's loop whenever there is work. */
int nbd_link_watch(struct nbd_link *link, struct ob_device *device, ob_watch_fn ready,
                   void *argument);
void nbd_link_update_watch(struct nbd_link *link);

/* Lets libnbd work, NBD_STEPS at most, without waiting. False when nothing happened. A link that
 * comes UP has learnt its export again, or is closed again if that can't stand in for the one
 * before, with the fault filled. */
bool nbd_link_work(struct nbd_link *link, struct ob_fault *fault);
/* Ends all that is in flight: nothing touches memory afterwards. The link is LOST. */
void nbd_link_shut(struct nbd_link *link);

#endif
