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
 * vfio-user: find out if the device can be migrated.
 *
 * @ret_pre_copy: whether it knows OB_CLIENT_PRE_COPY; may be NULL.
 *
 * Returns 0, -ENOTSUP when it can't, or the errno of a call.
 */
OB_API int ob_client_can_migrate(struct ob_client *client, bool *ret_pre_copy);

/** vfio-user: the device's run state. Returns 0 or the errno of a call. */
OB_API int ob_client_get_run_state(struct ob_client *client, enum ob_client_run_state *ret_state);

/**
 * vfio-user: set the device's run state. At first the device runs. To migrate it, at the source set
 * OB_CLIENT_STOPPED and OB_CLIENT_SAVING, and call ob_client_save() until it returns 0. At the
 * destination set OB_CLIENT_STOPPED and OB_CLIENT_LOADING, and call ob_client_load() with all of
 * it. Then set OB_CLIENT_STOPPED and OB_CLIENT_RUNNING. If the device refuses the loaded state, the
 * call that leaves OB_CLIENT_LOADING fails.
 *
 * Returns 0 or the errno of a call; -EREMOTEIO when the device refuses. A device refuses a change
 * that VFIO's state machine does not have.
 */
OB_API int ob_client_set_run_state(struct ob_client *client, enum ob_client_run_state state);

/** vfio-user: get the next bytes of a device's state. Returns their number, 0 at the end, or the
 * errno of a call. */
OB_API ssize_t ob_client_save(struct ob_client *client, void *ret_buf, size_t len);

/** vfio-user: give a device its next bytes of state. Returns 0 or the errno of a call. */
OB_API int ob_client_load(struct ob_client *client, const void *buf, size_t len);

#ifdef __cplusplus
}
#endif
#endif
