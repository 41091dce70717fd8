// SPDX-License-Identifier: BSD-3-Clause
/*
 * Migration: DEVICE_FEATURE, MIG_DATA_READ and MIG_DATA_WRITE, after version 2 of the kernel's
 * interface (<linux/vfio.h>, "enum vfio_device_mig_state").
 *
 *                 PRE_COPY
 *                 /      \
 *   RUNNING -- STOP -- STOP_COPY        (RUNNING -> STOP also directly)
 *                 \
 *                RESUMING
 *
 * A client names the state that it wants; the way there is gone arc by arc. Entering STOP pauses
 * the device, entering STOP_COPY saves its state, which the client then reads; what it writes in
 * RESUMING is loaded on leaving. In PRE_COPY there is nothing to read yet: the states of devices
 * are small. An arc that fails leaves the state where it was, but a load that fails leaves ERROR,
 * which only a reset ends.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "server/state.h"
#include "server/vfio_user.h"

#define NO_WAY VFIO_USER_MIG_ERROR

/* The next arc on the way from one state to another. */
static const uint8_t next_state[VFIO_USER_MIG_STATE_COUNT][VFIO_USER_MIG_STATE_COUNT] = {
    [VFIO_USER_MIG_STOP] =
        {
            [VFIO_USER_MIG_STOP] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_RUNNING] = VFIO_USER_MIG_RUNNING,
            [VFIO_USER_MIG_STOP_COPY] = VFIO_USER_MIG_STOP_COPY,
            [VFIO_USER_MIG_RESUMING] = VFIO_USER_MIG_RESUMING,
            [VFIO_USER_MIG_PRE_COPY] = VFIO_USER_MIG_RUNNING,
        },
    [VFIO_USER_MIG_RUNNING] =
        {
            [VFIO_USER_MIG_STOP] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_RUNNING] = VFIO_USER_MIG_RUNNING,
            [VFIO_USER_MIG_STOP_COPY] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_RESUMING] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_PRE_COPY] = VFIO_USER_MIG_PRE_COPY,
        },
    [VFIO_USER_MIG_STOP_COPY] =
        {
            [VFIO_USER_MIG_STOP] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_RUNNING] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_STOP_COPY] = VFIO_USER_MIG_STOP_COPY,
            [VFIO_USER_MIG_RESUMING] = VFIO_USER_MIG_STOP,
        },
    [VFIO_USER_MIG_RESUMING] =
        {
            [VFIO_USER_MIG_STOP] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_RUNNING] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_STOP_COPY] = VFIO_USER_MIG_STOP,
            [VFIO_USER_MIG_RESUMING] = VFIO_USER_MIG_RESUMING,
            [VFIO_USER_MIG_PRE_COPY] = VFIO_USER_MIG_STOP,
        },
    [VFIO_USER_MIG_PRE_COPY] =
        {
            [VFIO_USER_MIG_STOP] = VFIO_USER_MIG_RUNNING,
            [VFIO_USER_MIG_RUNNING] = VFIO_USER_MIG_RUNNING,
            [VFIO_USER_MIG_STOP_COPY] = VFIO_USER_MIG_STOP_COPY,
            [VFIO_USER_MIG_RESUMING] = VFIO_USER_MIG_RUNNING,
            [VFIO_USER_MIG_PRE_COPY] = VFIO_USER_MIG_PRE_COPY,
        },
};

static void drop_data(struct vfio_user_migration *migration)
{
    free(migration->data);
    migration->data = NULL;
    migration->len = migration->taken = 0;
}

static int make_room(struct vfio_user_server *server)
{
    drop_data(&server->migration);
    server->migration.data = malloc(state_limit(server->engine.device));
    return server->migration.data ? 0 : -ENOMEM;
}

static int save(struct vfio_user_server *server)
{
    struct ob_device *device = server->engine.device;
    int len = make_room(server);
    if (len == 0)
        len = state_save(device, server->migration.data, state_limit(device));
    if (len < 0) {
        drop_data(&server->migration);
        return len;
    }
    server->migration.len = (size_t)len;
    return 0;
}

/* Nothing written is nothing to load: a client may have changed its mind. */
static int load(struct vfio_user_server *server)
{
    struct vfio_user_migration *migration = &server->migration;
    struct ob_device *device = server->engine.device;
    struct ob_fault fault = {0};
    int err = migration->len > 0 ? state_load(device, migration->data, migration->len, &fault) : 0;
    drop_data(migration);
    if (err < 0)
        device->host->warn(device->host->context, fault.text);
    return err;
}

/* Goes one arc. */
static int enter(struct vfio_user_server *server, uint32_t next)
{
    struct vfio_user_migration *migration = &server->migration;
    struct ob_device *device = server->engine.device;
    int err = 0;
    if (migration->state == VFIO_USER_MIG_RESUMING) {
        err = load(server);
        if (err < 0)
            next = VFIO_USER_MIG_ERROR;
    } else if (next == VFIO_USER_MIG_RESUMING) {
        err = make_room(server);
    } else if (next == VFIO_USER_MIG_STOP_COPY) {
        device_pause(device, true);
        err = save(server);
        if (err < 0)
            device_pause(device, migration->state == VFIO_USER_MIG_STOP);
    } else if (migration->state == VFIO_USER_MIG_STOP_COPY) {
        drop_data(migration);
    } else {
        device_pause(device, next == VFIO_USER_MIG_STOP);
    }
    if (err == 0 || next == VFIO_USER_MIG_ERROR)
        migration->state = next;
    return err;
}

static int go(struct vfio_user_server *server, uint32_t wanted)
{
    struct vfio_user_migration *migration = &server->migration;
    if (wanted >= VFIO_USER_MIG_STATE_COUNT || next_state[migration->state][wanted] == NO_WAY)
        return -EINVAL;
    int err = 0;
    while (err == 0 && migration->state != wanted)
        err = enter(server, next_state[migration->state][wanted]);
    return err;
}

void vfio_user_migration_start(struct vfio_user_server *server)
{
    server->migration.state = VFIO_USER_MIG_RUNNING;
    device_pause(server->engine.device, false);
}

void vfio_user_migration_stop(struct vfio_user_server *server)
{
    drop_data(&server->migration);
}

void vfio_user_migration_reset(struct vfio_user_server *server)
{
    drop_data(&server->migration);
    vfio_user_migration_start(server);
}

static int feature_migration(struct vfio_user_request *request, bool set, struct rd *rd)
{
    if (set)
        return -EINVAL;
    wr_u64(&request->reply, VFIO_USER_MIG_FLAG_STOP_COPY | VFIO_USER_MIG_FLAG_PRE_COPY);
    return 0;
}

/* 0 device_state, 4 data_fd: data goes by messages here */
static int feature_device_state(struct vfio_user_request *request, bool set, struct rd *rd)
{
    int err = 0;
    if (set) {
        uint32_t wanted = rd_u32(rd);
        rd_skip(rd, 4);
        err = rd_done(rd) < 0 ? -EINVAL : go(request->server, wanted);
    }
    wr_u32(&request->reply, request->server->migration.state);
    wr_u32(&request->reply, UINT32_MAX);
    return err;
}

/* 0 argsz, 4 flags, 8 data */
int vfio_user_device_feature(struct vfio_user_request *request)
{
    struct vfio_user_feature feature = {0};
    struct rd rd = rd_init(request->payload, request->len);
    vfio_user_feature_get(rd_take(&rd, VFIO_USER_FEATURE_LEN), VFIO_USER_FEATURE_LEN, &feature);
    int (*handle)(struct vfio_user_request *, bool, struct rd *) = NULL;
    const uint32_t number = feature.flags & VFIO_DEVICE_FEATURE_MASK;
    const bool set = feature.flags & VFIO_DEVICE_FEATURE_SET;
    const bool get = feature.flags & VFIO_DEVICE_FEATURE_GET;
    const uint32_t known = VFIO_DEVICE_FEATURE_MASK | VFIO_DEVICE_FEATURE_SET |
                           VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_PROBE;
    if (number == VFIO_DEVICE_FEATURE_MIGRATION)
        handle = feature_migration;
    else if (number == VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE)
        handle = feature_device_state;
    if (!handle || state_limit(request->device) == 0)
        return -ENOTSUP;
    uint8_t *head = wr_room(&request->reply, VFIO_USER_FEATURE_LEN);
    if (feature.flags & VFIO_DEVICE_FEATURE_PROBE) {
        feature.argsz = VFIO_USER_FEATURE_LEN;
        vfio_user_feature_put(head, VFIO_USER_FEATURE_LEN, &feature);
        return feature.flags & ~known || (set && number == VFIO_DEVICE_FEATURE_MIGRATION) ? -EINVAL
                                                                                          : 0;
    }
    if (feature.flags & ~known || set == get)
        return -EINVAL;
    if (feature.argsz < VFIO_USER_FEATURE_LEN + 8)
        return -EINVAL;
    int err = handle(request, set, &rd);
    feature.argsz = (uint32_t)request->reply.len;
    vfio_user_feature_put(head, VFIO_USER_FEATURE_LEN, &feature);
    return err;
}

/* 0 argsz, 4 size; the reply has data behind. No data: there is no more. */
int vfio_user_mig_data_read(struct vfio_user_request *request)
{
    struct vfio_user_migration *migration = &request->server->migration;
    struct vfio_user_mig_data data = {0};
    vfio_user_mig_data_get(request->payload, VFIO_USER_MIG_DATA_LEN, &data);
    if (migration->state != VFIO_USER_MIG_STOP_COPY && migration->state != VFIO_USER_MIG_PRE_COPY)
        return -EINVAL;
    if (data.size > request->server->capabilities.max_data_xfer_size)
        return -E2BIG;
    if (data.argsz < VFIO_USER_MIG_DATA_LEN || data.argsz - VFIO_USER_MIG_DATA_LEN < data.size)
        return -EINVAL;
    size_t left = migration->len - migration->taken;
    if (data.size > left)
        data.size = (uint32_t)left;
    data.argsz = VFIO_USER_MIG_DATA_LEN + data.size;
    vfio_user_mig_data_put(wr_room(&request->reply, VFIO_USER_MIG_DATA_LEN), VFIO_USER_MIG_DATA_LEN,
                           &data);
    wr_bytes(&request->reply, migration->data + migration->taken, data.size);
    migration->taken += data.size;
    return 0;
}

int vfio_user_mig_data_write(struct vfio_user_request *request)
{
    struct vfio_user_migration *migration = &request->server->migration;
    struct vfio_user_mig_data data = {0};
    vfio_user_mig_data_get(request->payload, VFIO_USER_MIG_DATA_LEN, &data);
    if (migration->state != VFIO_USER_MIG_RESUMING ||
        data.size != request->len - VFIO_USER_MIG_DATA_LEN)
        return -EINVAL;
    if (data.size > request->server->capabilities.max_data_xfer_size)
        return -E2BIG;
    if (data.size > state_limit(request->device) - migration->len)
        return -ENOSPC;
    memcpy(migration->data + migration->len, request->payload + VFIO_USER_MIG_DATA_LEN, data.size);
    migration->len += data.size;
    return 0;
}
