// SPDX-License-Identifier: BSD-3-Clause
/*
 * A session in a vault. Requests of the device for the client's memory do not survive, only their
 * messages: the client's replies still come, and are dropped. A session in the midst of a migration
 * is not resumed: the state that was on its way, and the log of dirty pages, are gone.
 */
#include <errno.h>
#include <string.h>

#include "device/device_vault.h"
#include "server/vfio_user/vfio_user.h"

struct session {
    struct vfio_user_capabilities capabilities;
    uint32_t migration_state;
    uint32_t layout;
    uint16_t next_id;
    uint8_t negotiated, may_be_qemu, logs;
    struct {
        uint8_t busy, probe;
        uint16_t id, command;
        uint32_t count;
    } slots[LIMIT_VFIO_USER_DMA_MESSAGES];
};

static void put(struct engine *engine)
{
    const struct vfio_user_server *server = (struct vfio_user_server *)engine;
    const struct vfio_user_dma *dma = &server->dma;
    struct session session;
    memset(&session, 0, sizeof(session)); /* padding is compared too */
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
    session.logs = device_memory(engine->device)->dirty.page != 0;
    for (unsigned i = 0; i < LIMIT_VFIO_USER_DMA_MESSAGES; i++) {
        if (!dma->slots[i].busy)
            continue;
        session.slots[i].busy = true;
        session.slots[i].probe = dma->slots[i].probe;
        session.slots[i].id = dma->slots[i].id;
        session.slots[i].command = dma->slots[i].command;
        session.slots[i].count = dma->slots[i].count;
    }
    vault_put(engine->vault, VAULT_PART_WIRE, &session, sizeof(session), 0);
}

/* Values that no process writes. */
static bool is_impossible(const struct session *session)
{
    const struct vfio_user_capabilities *capabilities = &session->capabilities;
    if (session->negotiated > 1 || session->may_be_qemu > 1 ||
        session->layout > VFIO_USER_DMA_QEMU ||
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

static int resume(struct engine *engine, struct ob_fault *fault)
{
    struct vfio_user_server *server = (struct vfio_user_server *)engine;
    const struct vault_copy *copy = vault_get(engine->vault, VAULT_PART_WIRE);
    struct session session;
    if (!copy) /* it died before VERSION was done */
        return 0;
    if (copy->len != sizeof(session))
        return ob_fault_set(fault, -EINVAL, "the vault has no session of vfio-user");
    memcpy(&session, copy->bytes, sizeof(session));
    if (is_impossible(&session))
        return ob_fault_set(fault, -EINVAL, "the vault's session of vfio-user can't be one");
    if (session.logs || (session.migration_state != VFIO_USER_MIG_RUNNING &&
                         session.migration_state != VFIO_USER_MIG_STOP && session.negotiated))
        return ob_fault_set(fault, -EBUSY,
                            "the device died in the midst of a migration, which can't be resumed");
    server->negotiated = session.negotiated;
    server->may_be_qemu = session.may_be_qemu;
    server->capabilities = session.capabilities;
    server->migration.state = session.migration_state;
    resume_slots(&server->dma, &session);
    return 0;
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
