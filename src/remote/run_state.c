// SPDX-License-Identifier: BSD-3-Clause
/*
 * The state of a vfio-user device, carried elsewhere: DEVICE_FEATURE, MIG_DATA_READ and
 * MIG_DATA_WRITE, which follow version 2 of migration in <linux/vfio.h>.
 */
#include <errno.h>
#include <linux/vfio.h>

#include <outboard/client_state.h>

#include "base/cursor.h"
#include "remote/vfio_user.h"

int ob_client_can_migrate(struct ob_client *client, bool *ret_pre_copy)
{
    uint8_t data[8];
    int err =
        vfio_user_get_feature(client, VFIO_USER_FEATURE_MIGRATION, NULL, 0, data, sizeof(data));
    if (err == -EREMOTEIO)
        return -ENOTSUP;
    if (err < 0)
        return err;
    struct rd rd = rd_init(data, sizeof(data));
    uint64_t flags = rd_u64(&rd);
    if (!(flags & VFIO_USER_MIG_FLAG_STOP_COPY))
        return -ENOTSUP;
    if (ret_pre_copy)
        *ret_pre_copy = flags & VFIO_USER_MIG_FLAG_PRE_COPY;
    return 0;
}

int ob_client_get_run_state(struct ob_client *client, enum ob_client_run_state *ret_state)
{
    uint8_t data[8];
    int err =
        vfio_user_get_feature(client, VFIO_USER_FEATURE_DEVICE_STATE, NULL, 0, data, sizeof(data));
    if (err < 0)
        return err;
    struct rd rd = rd_init(data, sizeof(data));
    uint32_t state = rd_u32(&rd);
    if (state < VFIO_USER_MIG_STATE_COUNT) {
        *ret_state = (enum ob_client_run_state)state;
        return 0;
    }
    struct ob_fault fault = {0};
    ob_fault_set(&fault, -EPROTO, "the remote's run state: got %u, which does not exist", state);
    return vfio_user_reject(client, &fault);
}

int ob_client_set_run_state(struct ob_client *client, enum ob_client_run_state state)
{
    uint8_t data[8], answer[8];
    struct wr wr = wr_init(data, sizeof(data));
    wr_u32(&wr, state);
    wr_u32(&wr, UINT32_MAX); /* data goes by messages, not by a descriptor */
    struct client_reply reply = {.data = answer, .data_len = sizeof(answer)};
    return vfio_user_ask_feature(client, VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_DEVICE_STATE,
                                 data, sizeof(data), &reply);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

ssize_t ob_client_save(struct ob_client *client, void *ret_buf, size_t len)
{
    uint8_t head[VFIO_USER_MIG_DATA_LEN], answer[VFIO_USER_MIG_DATA_LEN];
    struct vfio_user_mig_data data, said;
    int err = ret_buf || len == 0 ? vfio_user_meet(client) : -EINVAL;
    if (err < 0)
        return err;
    data.size = (uint32_t)smaller(len, (size_t)client->engine.capabilities.max_data_xfer_size);
    data.argsz = VFIO_USER_MIG_DATA_LEN + data.size;
    vfio_user_mig_data_put(head, sizeof(head), &data);
    const struct vfio_user_question question = {
        .message = {.command = VFIO_USER_MIG_DATA_READ, .head = head, .head_len = sizeof(head)}};
    struct client_reply reply = {
        .head = answer, .head_len = sizeof(answer), .data = ret_buf, .data_len = data.size};
    err = vfio_user_ask(client, &question, &reply);
    if (err < 0)
        return err;
    if (reply.len >= sizeof(answer)) {
        vfio_user_mig_data_get(answer, sizeof(answer), &said);
        /* libvfio-user always sends as much as was asked for, whatever it says that counts of it */
        if (said.size <= reply.len - sizeof(answer))
            return (ssize_t)said.size;
    }
    struct ob_fault fault = {0};
    ob_fault_set(&fault, -EPROTO, "the remote's piece of state is shorter than its size");
    return vfio_user_reject(client, &fault);
}

int ob_client_load(struct ob_client *client, const void *buf, size_t len)
{
    const uint8_t *at = buf;
    uint8_t head[VFIO_USER_MIG_DATA_LEN], answer[VFIO_USER_MIG_DATA_LEN];
    int err = buf || len == 0 ? vfio_user_meet(client) : -EINVAL;
    while (len > 0 && err == 0) {
        size_t piece = smaller(len, (size_t)client->engine.capabilities.max_data_xfer_size);
        const struct vfio_user_mig_data data = {.argsz = (uint32_t)(VFIO_USER_MIG_DATA_LEN + piece),
                                                .size = (uint32_t)piece};
        vfio_user_mig_data_put(head, sizeof(head), &data);
        const struct vfio_user_question question = {.message = {.command = VFIO_USER_MIG_DATA_WRITE,
                                                                .head = head,
                                                                .head_len = sizeof(head),
                                                                .data = at,
                                                                .data_len = piece}};
        struct client_reply reply = {.head = answer, .head_len = sizeof(answer)};
        err = vfio_user_ask(client, &question, &reply);
        at += piece;
        len -= piece;
    }
    return err;
}
