// SPDX-License-Identifier: BSD-3-Clause
#include "fake/nbd_dial.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/nbd_dial.h"

struct nbd_dial {
    int ended_fd;
    struct nbd_handle *handle;
};

struct nbd_connector {
    int unused; // cppcheck-suppress unusedStructMember
};

int nbd_connector_start(const char *uri, struct nbd_connector **ret_connector,
                        struct ob_fault *fault)
{
    *ret_connector = calloc(1, sizeof(**ret_connector));
    if (!*ret_connector)
        abort();
    return 0;
}

void nbd_connector_free(struct nbd_connector *connector)
{
    free(connector);
}

int nbd_dial_new(const struct nbd_connector *connector, struct nbd_dial **ret_dial)
{
    struct nbd_dial *dial = calloc(1, sizeof(*dial));
    if (!dial)
        abort();
    dial->ended_fd = eventfd(1, EFD_CLOEXEC);
    dial->handle = fake_nbd_dialled();
    *ret_dial = dial;
    return 0;
}

int nbd_dial_fd(const struct nbd_dial *dial)
{
    return dial->ended_fd;
}

bool nbd_dial_has_ended(struct nbd_dial *dial)
{
    return true;
}

struct nbd_handle *nbd_dial_take(struct nbd_dial *dial, struct ob_fault *fault)
{
    struct nbd_handle *handle = dial->handle;
    dial->handle = NULL;
    if (!handle)
        ob_fault_set(fault, -ECONNREFUSED, "absent");
    return handle;
}

void nbd_dial_hang_up(struct nbd_dial *dial)
{
}

void nbd_dial_free(struct nbd_dial *dial)
{
    if (!dial)
        return;
    nbd_close(dial->handle);
    close(dial->ended_fd);
    free(dial);
}
