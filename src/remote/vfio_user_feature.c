// SPDX-License-Identifier: BSD-3-Clause
/* DEVICE_FEATURE of vfio-user: one message for all that a device may have besides registers. */
#include <errno.h>
#include <linux/vfio.h>

#include "remote/vfio_user.h"

int vfio_user_ask_feature(struct ob_client *client, uint32_t flags, const uint8_t *data,
                          size_t data_len, struct client_reply *reply)
{
    uint8_t head[VFIO_USER_FEATURE_LEN];
    const size_t most = data_len > reply->data_len ? data_len : reply->data_len;
    const struct vfio_user_feature feature = {.argsz = (uint32_t)(sizeof(head) + most),
                                              .flags = flags};
    vfio_user_feature_put(head, sizeof(head), &feature);
    const struct vfio_user_question question = {.message = {.command = VFIO_USER_DEVICE_FEATURE,
                                                            .head = head,
                                                            .head_len = sizeof(head),
                                                            .data = data,
                                                            .data_len = data_len}};
    uint8_t answer[VFIO_USER_FEATURE_LEN];
    reply->head = answer;
    reply->head_len = sizeof(answer);
    int err = vfio_user_ask(client, &question, reply);
    reply->head = NULL;
    return err;
}

int vfio_user_get_feature(struct ob_client *client, uint32_t number, const uint8_t *data,
                          size_t data_len, uint8_t *ret_data, size_t ret_len)
{
    struct client_reply reply = {.data = ret_data, .data_len = ret_len};
    int err =
        vfio_user_ask_feature(client, VFIO_DEVICE_FEATURE_GET | number, data, data_len, &reply);
    if (err < 0 || reply.len == VFIO_USER_FEATURE_LEN + ret_len)
        return err;
    struct ob_fault fault = {0};
    ob_fault_set(&fault, -EPROTO, "the remote's reply to feature %u: got %zu bytes, expected %zu",
                 number, reply.len, VFIO_USER_FEATURE_LEN + ret_len);
    return vfio_user_reject(client, &fault);
}
