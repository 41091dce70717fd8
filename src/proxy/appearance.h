// SPDX-License-Identifier: BSD-3-Clause
/*
 * Appearance: tells when a channel's device or socket appears, is replaced or becomes accessible,
 * so that retries may be rare.
 */
#ifndef OUTBOARD_PROXY_APPEARANCE_H
#define OUTBOARD_PROXY_APPEARANCE_H

#include "os/loop.h"
#include "proxy/channel_spec.h"

struct appearance;
struct outside;

/* An inotify descriptor that tells each change of the file that spec names. -ENOTSUP: it names no file;
 * or another negative errno: its folder can't be watched. */
int appearance_open(const struct channel_spec *spec);

/* Calls appeared(argument) at each change. outside: who can open that; NULL: this process. As
 * appearance_open(). */
int appearance_watch(struct loop *loop, const struct channel_spec *spec, struct outside *outside,
                     void (*appeared)(void *argument), void *argument,
                     struct appearance **ret_appearance);

/* NULL is fine. */
void appearance_free(struct appearance *appearance);

#endif
