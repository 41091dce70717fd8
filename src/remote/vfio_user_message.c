// SPDX-License-Identifier: BSD-3-Clause
/* Messages of vfio-user: a question, and the handling of its answer. */
#include "remote/vfio_user.h"

#include <errno.h>

int vfio_user_meet(struct ob_client *client)
{
    return client->remote ? client_prepare(client) : -EOPNOTSUPP;
}

int vfio_user_ask(struct ob_client *client, const struct vfio_user_question *question,
                  struct client_reply *reply)
{
    struct client_reply nothing = {0};
    const struct client_request request = {
        .operation = CLIENT_MESSAGE,
        .message = &question->message,
        .reply = reply ? reply : &nothing,
        .fds = question->fds,
        .num_fds = question->num_fds,
    };
    uint64_t unused;
    return client->remote ? client_call(client, &request, &unused) : -EOPNOTSUPP;
}

int vfio_user_reject(struct ob_client *client, const struct ob_fault *fault)
{
    client_lose(client, fault->code, fault->text);
    return fault->code;
}
