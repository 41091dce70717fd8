// SPDX-License-Identifier: BSD-3-Clause
/*
 * A session in a vault. Requests of the device for the client's memory do not survive, only their
 * messages: the client's replies still come, and are dropped.
 *
 * Migration. The data that the client was reading is made again, for the device has not changed since, and
 * the client continues behind the bytes that it has. The log of dirty pages begins again with all
 * pages marked: the client copies more than it has to, and misses nothing. The bytes that a client
 * writes (RESUMING) are in the vault.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "device/device_vault.h"
#include "server/vfio_user/vfio_user.h"

struct session {
    struct vfio_user_capabilities capabilities;
    uint32_t migration_state;
    uint32_t layout;
    uint16_t next_id;
    uint8_t negotiated, may_be_qemu;
    struct {
        uint8_t busy, probe;
        uint16_t id, command;
        uint32_t count;
    } slots[LIMIT_VFIO_USER_DMA_MESSAGES];
    uint64_t data_len, data_taken; /* of the data that the client reads */
    struct {
        uint64_t page; /* 0: there is no log; the rest is not in the vault then */
        uint32_t count, all;
        struct {
            uint64_t start, len;
        } ranges[LIMIT_DIRTY_RANGES];
    } log;
};

#define LEN_WITHOUT_RANGES offsetof(struct session, log.count)

static size_t put_log(const struct dirty_log *log, struct session *session)
{
    session->log.page = log->page;
    if (log->page == 0)
        return LEN_WITHOUT_RANGES;
    memset((uint8_t *)session + LEN_WITHOUT_RANGES, 0, sizeof(*session) - LEN_WITHOUT_RANGES);
    session->log.count = log->count;
    session->log.all = log->all;
    for (unsigned i = 0; i < log->count; i++) {
        session->log.ranges[i].start = log->ranges[i].start;
        session->log.ranges[i].len = log->ranges[i].len;
    }
    return sizeof(*session);
}

static void put(struct engine *engine)
{
    const struct vfio_user_server *server = (struct vfio_user_server *)engine;
    const struct vfio_user_dma *dma = &server->dma;
    struct session session;
    memset(&session, 0, LEN_WITHOUT_RANGES); /* padding is compared too */
    session.capabilities.max_msg_fds = server->capabilities.max_msg_fds;
    session.capabilities.max_data_xfer_size = server->capabilities.max_data_xfer_size;
    session.capabilities.pgsizes = server->capabilities.pgsizes;
    session.capabilities.max_dma_maps = server->capabilities.max_dma_maps;
    session.capabilities.write_multiple = server->capabilities.write_multiple;
    session.migration_state = server->migration.state;
    session.layout = dma->layout;
    session.next_id = dma->next_id;
    session.negotiated = server->negotiated;
    session.may_be_qemu = server->may_be_qemu;
    session.data_len = server->migration.len;
    session.data_taken = server->migration.taken;
    for (unsigned i = 0; i < LIMIT_VFIO_USER_DMA_MESSAGES; i++) {
        if (!dma->slots[i].busy)
            continue;
        session.slots[i].busy = true;
        session.slots[i].probe = dma->slots[i].probe;
        session.slots[i].id = dma->slots[i].id;
        session.slots[i].command = dma->slots[i].command;
        session.slots[i].count = dma->slots[i].count;
    }
    const size_t len = put_log(&device_memory(engine->device)->dirty, &session);
    vault_put(engine->vault, VAULT_PART_WIRE, &session, len, 0);
}

/* Values that no process writes. */
static bool is_impossible(const struct session *session)
{
    const struct vfio_user_capabilities *capabilities = &session->capabilities;
    uint8_t write_multiple; /* a bool that is neither must not be read as one */
    memcpy(&write_multiple, &capabilities->write_multiple, sizeof(write_multiple));
    if (write_multiple > 1 || session->negotiated > 1 || session->may_be_qemu > 1 ||
        session->layout > VFIO_USER_DMA_QEMU || session->log.count > LIMIT_DIRTY_RANGES ||
        session->log.all > 1 || session->migration_state >= VFIO_USER_MIG_STATE_COUNT ||
        capabilities->max_data_xfer_size > LIMIT_VFIO_USER_DATA ||
        capabilities->max_msg_fds > LIMIT_VFIO_USER_FDS ||
        capabilities->max_dma_maps > LIMIT_MEMORY_REGIONS)
        return true;
    for (unsigned i = 0; i < LIMIT_VFIO_USER_DMA_MESSAGES; i++)
        if (session->slots[i].busy > 1 || session->slots[i].probe > 1 ||
            session->slots[i].count > LIMIT_VFIO_USER_DATA)
            return true;
    return session->negotiated && (!capabilities->pgsizes || !capabilities->max_data_xfer_size);
}

static void resume_slots(struct vfio_user_dma *dma, const struct session *session)
{
    dma->layout = (enum vfio_user_dma_layout)session->layout;
    dma->next_id = session->next_id;
    for (unsigned i = 0; i < LIMIT_VFIO_USER_DMA_MESSAGES; i++)
        dma->slots[i] = (struct vfio_user_dma_slot){.busy = session->slots[i].busy,
                                                    .probe = session->slots[i].probe,
                                                    .id = session->slots[i].id,
                                                    .command = session->slots[i].command,
                                                    .count = session->slots[i].count};
}

/* Everything counts as written. */
static int resume_log(struct memory *memory, const struct session *session)
{
    struct dirty_range ranges[LIMIT_DIRTY_RANGES];
    for (unsigned i = 0; i < session->log.count; i++)
        ranges[i] = (struct dirty_range){.start = session->log.ranges[i].start,
                                         .len = session->log.ranges[i].len};
    if (session->log.page == 0)
        return 0;
    if (session->log.all != (session->log.count == 0))
        return -EINVAL;
    int err = dirty_start(&memory->dirty, session->log.page, ranges, session->log.count);
    if (err == 0)
        dirty_mark_everything(&memory->dirty);
    return err;
}

static int resume(struct engine *engine, struct ob_fault *fault)
{
    struct vfio_user_server *server = (struct vfio_user_server *)engine;
    const struct vault_copy *copy = vault_get(engine->vault, VAULT_PART_WIRE);
    struct session session = {0};
    if (!copy) /* it died before VERSION was done */
        return 0;
    if (copy->len != sizeof(session) && copy->len != LEN_WITHOUT_RANGES)
        return ob_fault_set(fault, -EINVAL, "the vault has no session of vfio-user");
    memcpy(&session, copy->bytes, copy->len <= sizeof(session) ? copy->len : 0);
    if (is_impossible(&session))
        return ob_fault_set(fault, -EINVAL, "the vault's session of vfio-user can't be one");
    server->negotiated = session.negotiated;
    server->may_be_qemu = session.may_be_qemu;
    server->capabilities = session.capabilities;
    resume_slots(&server->dma, &session);
    if (!session.negotiated)
        return 0;
    int err = resume_log(device_memory(engine->device), &session);
    if (err < 0)
        return ob_fault_set(fault, err, "the vault's log of dirty pages can't be one");
    return vfio_user_migration_resume(server, session.migration_state, session.data_len,
                                      session.data_taken, fault);
}

static bool answer_error(struct engine *engine, const uint8_t *frame, size_t len)
{
    const struct vfio_user_server *server = (struct vfio_user_server *)engine;
    struct vfio_user_header header = server->header;
    if (!server->negotiated ||
        (header.flags & (VFIO_USER_TYPE_MASK | VFIO_USER_NO_REPLY)) != VFIO_USER_TYPE_COMMAND)
        return false;
    header.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR;
    header.size = VFIO_USER_HEADER_LEN;
    header.error = EIO;
    vfio_user_header_put(engine_reply_room(engine), VFIO_USER_HEADER_LEN, &header);
    engine_reply(engine, VFIO_USER_HEADER_LEN, NULL, 0);
    return true;
}

const struct engine_session_ops vfio_user_session = {
    .put = put,
    .resume = resume,
    .answer_error = answer_error,
};
