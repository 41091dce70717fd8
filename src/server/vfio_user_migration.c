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
 *
 * DMA logging tells which pages the device has written in memory that it reaches itself; what it
 * writes by message, the client sees.
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

/* 0 page_size, 8 num_ranges, 12 reserved, 16 ranges: 0 iova, 8 length */
static int feature_logging_start(struct vfio_user_request *request, bool set, struct rd *rd)
{
    struct dirty_range ranges[LIMIT_DIRTY_RANGES];
    uint64_t page = rd_u64(rd);
    uint32_t count = rd_u32(rd);
    rd_skip(rd, 4);
    if (count > LIMIT_DIRTY_RANGES)
        return -E2BIG;
    for (uint32_t i = 0; i < count; i++) {
        ranges[i].start = rd_u64(rd);
        ranges[i].len = rd_u64(rd);
    }
    return rd_done(rd) < 0 ? -EINVAL
                           : dirty_start(&request->device->memory.dirty, page, ranges, count);
}

static int feature_logging_stop(struct vfio_user_request *request, bool set, struct rd *rd)
{
    if (rd_done(rd) < 0)
        return -EINVAL;
    dirty_stop(&request->device->memory.dirty);
    return 0;
}

/* 0 iova, 8 length, 16 page_size; the reply has a bit per page behind */
static int feature_logging_report(struct vfio_user_request *request, bool set, struct rd *rd)
{
    struct dirty_log *log = &request->device->memory.dirty;
    uint64_t start = rd_u64(rd), len = rd_u64(rd), page = rd_u64(rd);
    int64_t report_len = rd_done(rd) < 0 ? -EINVAL : dirty_report_len(log, page, start, len);
    if (report_len < 0)
        return -EINVAL;
    if ((uint64_t)report_len > request->server->capabilities.max_data_xfer_size)
        return -E2BIG;
    wr_u64(&request->reply, start);
    wr_u64(&request->reply, len);
    wr_u64(&request->reply, page);
    dirty_report(log, start, len, wr_room(&request->reply, (size_t)report_len));
    return 0;
}

/* What a client may get and set, how much argsz it needs at least for the reply, and by whom. */
static const struct feature {
    uint32_t flags;
    uint32_t reply_len;
    bool needs_state; /* only of a device that can be saved */
    int (*handle)(struct vfio_user_request *request, bool set, struct rd *rd);
} features[] = {
    [VFIO_USER_FEATURE_MIGRATION] = {VFIO_DEVICE_FEATURE_GET, 8, true, feature_migration},
    [VFIO_USER_FEATURE_DEVICE_STATE] = {VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET, 8, true,
                                        feature_device_state},
    [VFIO_USER_FEATURE_LOGGING_START] = {VFIO_DEVICE_FEATURE_SET, 0, false, feature_logging_start},
    [VFIO_USER_FEATURE_LOGGING_STOP] = {VFIO_DEVICE_FEATURE_SET, 0, false, feature_logging_stop},
    [VFIO_USER_FEATURE_LOGGING_REPORT] = {VFIO_DEVICE_FEATURE_GET, 24, false,
                                          feature_logging_report},
};

static const struct feature *find_feature(const struct vfio_user_request *request, uint32_t number)
{
    const struct feature *feature =
        number < sizeof(features) / sizeof(features[0]) ? &features[number] : NULL;
    if (!feature || !feature->handle)
        return NULL;
    return feature->needs_state && state_limit(request->device) == 0 ? NULL : feature;
}

/* 0 argsz, 4 flags, 8 data */
int vfio_user_device_feature(struct vfio_user_request *request)
{
    const uint32_t both = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
    struct vfio_user_feature head = {0};
    struct rd rd = rd_init(request->payload, request->len);
    vfio_user_feature_get(rd_take(&rd, VFIO_USER_FEATURE_LEN), VFIO_USER_FEATURE_LEN, &head);
    const struct feature *feature = find_feature(request, head.flags & VFIO_DEVICE_FEATURE_MASK);
    if (!feature)
        return -ENOTSUP;
    const uint32_t action = head.flags & ~(uint32_t)VFIO_DEVICE_FEATURE_MASK;
    const bool probes = action & VFIO_DEVICE_FEATURE_PROBE;
    if (action & ~(feature->flags | VFIO_DEVICE_FEATURE_PROBE) ||
        (!probes && (action == both || action == 0)))
        return -EINVAL;
    if (!probes && head.argsz < VFIO_USER_FEATURE_LEN + feature->reply_len)
        return -EINVAL;
    uint8_t *at = wr_room(&request->reply, VFIO_USER_FEATURE_LEN);
    int err = probes ? 0 : feature->handle(request, action & VFIO_DEVICE_FEATURE_SET, &rd);
    head.argsz = (uint32_t)request->reply.len;
    vfio_user_feature_put(at, VFIO_USER_FEATURE_LEN, &head);
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
