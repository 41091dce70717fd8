// SPDX-License-Identifier: BSD-3-Clause
/*
 * Watches: the descriptors of one device on the loop that serves it. They are found by the
 * descriptor's number, so that a device may have thousands. Until there is a loop they only wait.
 */
#ifndef OUTBOARD_PROGRAM_WATCHES_H
#define OUTBOARD_PROGRAM_WATCHES_H

#include <outboard/watch.h>

#include "os/loop.h"

struct watch;

struct watches {
    struct loop *loop;    /* NULL: none yet */
    struct watch **by_fd; /* NULL: not watched */
    size_t size;          /* of by_fd */
};

/* Ends all watches. Zeroes are no watches. */
void watches_done(struct watches *watches);

/* Puts all of them on the loop, and all later watches; NULL takes them off the one
 * before. 0 or the errno of one that can't be. */
int watches_use_loop(struct watches *watches, struct loop *loop);

/* As ob_device_watch(). */
int watches_set(struct watches *watches, int fd, unsigned events, ob_watch_fn ready,
                void *argument);
/* As server_host.event_watch(); -EEXIST when the descriptor is watched. */
int watches_add_event(struct watches *watches, int fd, void (*fired)(void *argument),
                      void *argument);
/* Ends both kinds; a descriptor that is not watched is fine. */
void watches_remove(struct watches *watches, int fd);

#endif
