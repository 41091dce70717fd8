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
 * the device, entering STOP_COPY saves its state, which the client then reads; bytes that it writes in
 * RESUMING are loaded on leaving. The data of PRE_COPY, of a device that runs, tells which
 * device it is and the content of its memory, in blocks (state_early.h). The state does not need them,
 * so in STOP_COPY follows the rest of the block that was being read, and then the state: a
 * client may throw away the data of PRE_COPY if it has read whole blocks. An arc that fails
 * leaves the state where it was, but a load that fails leaves ERROR, which only a reset ends.
 *
 * A device with I/O in flight takes its time to stop. The command that asks for it is answered when
 * the device is at rest, for the answer promises that memory is not touched any more; the client's
 * later commands wait behind it, the device's I/O and the program's signals do not. A device that
 * can't come to rest continues to run, and the client is told.
 *
 * DMA logging tells which pages the device has written in memory that it reaches itself; the
 * client sees writes by message.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "device/state.h"
#include "device/state_early.h"
#include "server/vfio_user/vfio_user.h"

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
    if (!migration->in_vault)
        free(migration->data);
    migration->in_vault = false;
    migration->data = NULL;
    migration->len = migration->taken = 0;
}

static int make_room(struct vfio_user_server *server, size_t size)
{
    drop_data(&server->migration);
    server->migration.data = malloc(size);
    return server->migration.data ? 0 : -ENOMEM;
}

/* The data that a client may write in RESUMING. */
static size_t resume_limit(const struct ob_device *device)
{
    return state_early_len(device) + state_limit(device);
}

/* Room for the data that a client writes, in the vault if there is one. Whether it is there. */
static bool use_vault(struct vfio_user_server *server)
{
    const struct vault *vault = server->engine.vault;
    if (!vault || !vault->incoming || resume_limit(server->engine.device) > LIMIT_VAULT_INCOMING)
        return false;
    drop_data(&server->migration);
    server->migration.data = vault->incoming;
    server->migration.in_vault = true;
    return true;
}

static int begin_resuming(struct vfio_user_server *server)
{
    return use_vault(server) ? 0 : make_room(server, resume_limit(server->engine.device));
}

/* Of a device that runs. */
static int save_early(struct vfio_user_server *server)
{
    const struct ob_device *device = server->engine.device;
    int err = make_room(server, state_early_len(device));
    if (err == 0)
        err = state_early_save(device, server->migration.data);
    if (err == 0)
        server->migration.len = state_early_len(device);
    else
        drop_data(&server->migration);
    return err;
}

/* Puts the state behind the rest of the block that the client was reading, if it was. On failure it
 * may read on. */
static int save(struct vfio_user_server *server)
{
    struct vfio_user_migration *migration = &server->migration;
    struct ob_device *device = server->engine.device;
    size_t into_block = migration->taken % STATE_EARLY_BLOCK;
    size_t rest = into_block > 0 ? STATE_EARLY_BLOCK - into_block : 0;
    uint8_t *data = malloc(rest + state_limit(device));
    int len = data ? state_save(device, data + rest, state_limit(device)) : -ENOMEM;
    if (len < 0) {
        free(data);
        return len;
    }
    if (rest > 0)
        memcpy(data, migration->data + migration->taken, rest);
    drop_data(migration);
    migration->data = data;
    migration->len = rest + (size_t)len;
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
        ob_device_warn(device, "can't load a state: %s", fault.text);
    return err;
}

/* Pauses the device. 0 when it is at rest, ENGINE_LATER when not yet, or a negative errno: then it
 * runs on. */
static int stop(struct vfio_user_server *server)
{
    struct ob_device *device = server->engine.device;
    struct ob_fault fault = {0};
    device_pause(device, true);
    int rest = device_at_rest(device, &fault);
    if (rest >= 0)
        return rest > 0 ? 0 : ENGINE_LATER;
    device_pause(device, false);
    if (fault.code)
        ob_device_warn(device, "can't stop: %s", fault.text);
    return rest;
}

/* Stops a device that runs, and saves it. */
static int stop_and_save(struct vfio_user_server *server)
{
    bool runs = server->migration.state != VFIO_USER_MIG_STOP;
    int err = runs ? stop(server) : 0;
    if (err != 0)
        return err;
    err = save(server);
    if (err < 0 && runs)
        device_pause(server->engine.device, false);
    return err;
}

/* Goes one arc. 0, ENGINE_LATER: the state is as it was, or a negative errno. */
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
        err = begin_resuming(server);
    } else if (next == VFIO_USER_MIG_PRE_COPY) {
        err = save_early(server);
    } else if (next == VFIO_USER_MIG_STOP_COPY) {
        err = stop_and_save(server);
    } else if (migration->state == VFIO_USER_MIG_STOP_COPY ||
               migration->state == VFIO_USER_MIG_PRE_COPY) {
        drop_data(migration);
    } else if (next == VFIO_USER_MIG_STOP) {
        err = stop(server);
    } else {
        device_pause(device, false);
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

/* Makes the data again that the client was reading. Of STOP_COPY it begins with the rest of a block
 * that was begun before; that rest has no other use than its length. */
static int make_again(struct vfio_user_server *server, uint64_t len, uint64_t taken,
                      struct ob_fault *fault)
{
    struct vfio_user_migration *migration = &server->migration;
    const bool runs = migration->state == VFIO_USER_MIG_PRE_COPY;
    int err = runs ? save_early(server) : save(server);
    uint64_t rest = err == 0 && len >= migration->len ? len - migration->len : 0;
    if (err == 0 && (len != migration->len + rest || taken > len || taken < rest ||
                     rest >= STATE_EARLY_BLOCK || (runs && rest > 0)))
        err = -EBUSY;
    migration->taken = err == 0 ? taken - rest : 0;
    return err < 0 ? ob_fault_set(fault, err,
                                  "the state that the client was reading can't be made again: %s",
                                  strerror(-err))
                   : 0;
}

/* Continues with the bytes that the client has written. They are checked as such bytes always are. */
static int take_incoming(struct vfio_user_server *server, uint64_t len, struct ob_fault *fault)
{
    if (len > resume_limit(server->engine.device) || !use_vault(server))
        return ob_fault_set(fault, -EINVAL, "the vault has no room for the state that came in");
    server->migration.len = len;
    return 0;
}

int vfio_user_migration_resume(struct vfio_user_server *server, uint32_t state, uint64_t len,
                               uint64_t taken, struct ob_fault *fault)
{
    server->migration.state = state;
    if (state == VFIO_USER_MIG_RESUMING)
        return take_incoming(server, len, fault);
    if (state == VFIO_USER_MIG_STOP_COPY || state == VFIO_USER_MIG_PRE_COPY)
        return make_again(server, len, taken, fault);
    return 0;
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

#define LOGGING_CONTROL_LEN 16u /* without ranges */

/* Answers a client that starts or stops logging with its own bytes: libvfio-user's waits for as
 * many. */
static int echo(struct vfio_user_request *request)
{
    wr_bytes(&request->reply, request->payload + VFIO_USER_FEATURE_LEN,
             request->len - VFIO_USER_FEATURE_LEN);
    return 0;
}

/* 0 page_size, 8 num_ranges (0: all memory), 12 reserved, 16 ranges: 0 iova, 8 length */
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
    int err = rd_done(rd) < 0
                  ? -EINVAL
                  : dirty_start(&device_memory(request->device)->dirty, page, ranges, count);
    return err < 0 ? err : echo(request);
}

/* Nothing, or the payload that started it without its ranges, which libvfio-user's client sends again. */
static int feature_logging_stop(struct vfio_user_request *request, bool set, struct rd *rd)
{
    if (rd->left != 0 && rd->left != LOGGING_CONTROL_LEN)
        return -EINVAL;
    dirty_stop(&device_memory(request->device)->dirty);
    return echo(request);
}

/* 0 iova, 8 length, 16 page_size; the reply has a bit per page behind */
static int feature_logging_report(struct vfio_user_request *request, bool set, struct rd *rd)
{
    struct dirty_log *log = &device_memory(request->device)->dirty;
    uint64_t start = rd_u64(rd), len = rd_u64(rd), page = rd_u64(rd);
    int64_t report_len = rd_done(rd) < 0 ? -EINVAL : dirty_report_len(log, page, start, len);
    if (report_len < 0)
        return -EINVAL;
    if ((uint64_t)report_len > request->server->capabilities.max_data_xfer_size)
        return -E2BIG;
    wr_u64(&request->reply, start);
    wr_u64(&request->reply, len);
    wr_u64(&request->reply, page);
    uint8_t *bits = wr_room(&request->reply, (size_t)report_len);
    if (!bits)
        return -E2BIG;
    dirty_report(log, start, len, bits);
    return 0;
}

/* The features that a client may get and set, how much argsz it needs at least for the reply, and by whom. */
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

/* 0 argsz, 4 size; the reply has data behind, and zeroes as far as was asked for: libvfio-user's
 * client waits for as many bytes. No data: there is no more. */
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
    size_t left = migration->len - migration->taken, asked = data.size;
    if (data.size > left)
        data.size = (uint32_t)left;
    data.argsz = VFIO_USER_MIG_DATA_LEN + data.size;
    vfio_user_mig_data_put(wr_room(&request->reply, VFIO_USER_MIG_DATA_LEN), VFIO_USER_MIG_DATA_LEN,
                           &data);
    if (data.size > 0)
        wr_bytes(&request->reply, migration->data + migration->taken, data.size);
    wr_zero(&request->reply, asked - data.size);
    migration->taken += data.size;
    return 0;
}

/* Looks at the first block ahead of a state as soon as it is there, so that a client learns early
 * that it has come to the wrong device. */
static int check_first_block(const struct vfio_user_request *request, size_t len_before)
{
    const struct vfio_user_migration *migration = &request->server->migration;
    struct ob_fault fault = {0};
    size_t checked = 0;
    if (len_before >= STATE_EARLY_BLOCK || migration->len < STATE_EARLY_BLOCK)
        return 0;
    int err =
        state_early_check(request->device, migration->data, STATE_EARLY_BLOCK, &checked, &fault);
    if (err < 0)
        ob_device_warn(request->device, "can't load a state: %s", fault.text);
    return err;
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
    if (data.size > resume_limit(request->device) - migration->len)
        return -ENOSPC;
    memcpy(migration->data + migration->len, request->payload + VFIO_USER_MIG_DATA_LEN, data.size);
    migration->len += data.size;
    return check_first_block(request, migration->len - data.size);
}
