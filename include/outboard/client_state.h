// SPDX-License-Identifier: BSD-3-Clause
/*
 * Client, migration: stops a remote device, saves its state and loads it elsewhere. The rules of
 * client.h for errors, waiting and threads apply.
 */
#ifndef OUTBOARD_CLIENT_STATE_H
#define OUTBOARD_CLIENT_STATE_H

#include <sys/types.h>

#include <outboard/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Run states of a device that can be migrated; the numbers are those of Linux' VFIO. */
enum ob_client_run_state {
    OB_CLIENT_RUN_ERROR, /* a change of state failed; reset it, or give it up */
    OB_CLIENT_STOPPED,
    OB_CLIENT_RUNNING,
    OB_CLIENT_SAVING,  /* stopped; ob_client_save() gives its state (STOP_COPY) */
    OB_CLIENT_LOADING, /* stopped; ob_client_load() gives it a state (RESUMING) */
    OB_CLIENT_RUNNING_P2P,
    OB_CLIENT_PRE_COPY, /* running; ob_client_save() may give some of its state already */
};

/**
 * vfio-user: whether the device can be migrated.
 *
 * @ret_pre_copy: whether it knows OB_CLIENT_PRE_COPY; may be NULL.
 *
 * Returns 0, -ENOTSUP when it can't, or the errno of a call.
 */
OB_API int ob_client_can_migrate(struct ob_client *client, bool *ret_pre_copy);

/** vfio-user: the device's run state. Returns 0 or the errno of a call. */
OB_API int ob_client_get_run_state(struct ob_client *client, enum ob_client_run_state *ret_state);

/**
 * vfio-user: bring the device into a state. It runs at first. To carry it elsewhere:
 * OB_CLIENT_STOPPED, OB_CLIENT_SAVING, ob_client_save() until it returns 0, there
 * OB_CLIENT_STOPPED, OB_CLIENT_LOADING, ob_client_load() with all of it, OB_CLIENT_STOPPED,
 * OB_CLIENT_RUNNING. A state that the device there refuses shows in the call that leaves
 * OB_CLIENT_LOADING.
 *
 * Returns 0 or the errno of a call; -EREMOTEIO when the device refuses, as it does a change that is
 * no arc of VFIO's.
 */
OB_API int ob_client_set_run_state(struct ob_client *client, enum ob_client_run_state state);

/** vfio-user: the next bytes of a device's state. Returns how many, 0 at its end, or the errno of a
 * call. */
OB_API ssize_t ob_client_save(struct ob_client *client, void *ret_buf, size_t len);

/** vfio-user: give a device its next bytes of state. Returns 0 or the errno of a call. */
OB_API int ob_client_load(struct ob_client *client, const void *buf, size_t len);

#ifdef __cplusplus
}
#endif
#endif
