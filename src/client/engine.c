// SPDX-License-Identifier: BSD-3-Clause
#include "client/engine.h"

#include <assert.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

int client_init(struct client *client, const struct client_wire *wire,
                const struct client_host *host)
{
    *client = (struct client){.wire = wire, .host = host};
    client->rx = malloc(wire->rx_len);
    client->tx = malloc(wire->tx_len);
    if (client->rx && client->tx)
        return 0;
    client_done(client);
    return -ENOMEM;
}

static void close_fds(const struct client *client, struct fd_list *fds)
{
    for (unsigned i = 0; i < fds->count; i++)
        if (fds->fd[i] >= 0)
            client->host->close(client->host->context, fds->fd[i]);
    fds->count = 0;
}

void client_done(struct client *client)
{
    close_fds(client, &client->waiting);
    close_fds(client, &client->arrived);
    free(client->rx);
    free(client->tx);
    client->rx = client->tx = NULL;
}

void client_drop(const struct client *client, struct client_reply *reply)
{
    close_fds(client, &reply->fds);
}

bool client_is_answered(const struct client_request *request)
{
    return request->operation != CLIENT_PUBLISH_MEMORY && request->operation != CLIENT_SET_INTX;
}

/* Keeps the guest's writes to the BARs' registers: some wires carry addresses, not BARs. */
static void follow_bars(struct client *client, const struct client_request *request)
{
    for (unsigned i = 0; i < request->size; i++) {
        uint64_t at = request->offset + i - PCI_BASE_ADDRESS_0;
        if (at >= UINT64_C(4) * OB_BAR_COUNT)
            continue;
        uint32_t *bar = &client->bar_registers[at / 4];
        unsigned shift = 8 * (at % 4);
        *bar &= ~(0xffu << shift);
        *bar |= (uint32_t)(request->value >> (8 * i) & 0xff) << shift;
    }
}

int client_request(struct client *client, const struct client_request *request,
                   uint64_t *ret_serial)
{
    if (client->fault.code)
        return -EPROTO;
    if (client->num_calls == LIMIT_CLIENT_CALLS)
        return -EBUSY;
    uint64_t before = client->last_serial;
    int err = client->wire->request(client, request);
    if (err < 0)
        return err;
    if (request->operation == CLIENT_CONFIG_WRITE)
        follow_bars(client, request);
    if (request->operation == CLIENT_RESET)
        memset(client->bar_registers, 0, sizeof(client->bar_registers));
    *ret_serial = client->last_serial == before ? 0 : client->last_serial;
    return 0;
}

static struct client_call *find_call(struct client *client, uint64_t serial)
{
    for (unsigned i = 0; i < client->num_calls; i++)
        if (client->calls[i].serial == serial)
            return &client->calls[i];
    return NULL;
}

void client_forget(struct client *client, uint64_t serial)
{
    struct client_call *call = find_call(client, serial);
    if (call)
        call->reply = NULL;
}

const uint8_t *client_pending(const struct client *client, size_t *ret_len, const int **ret_fds,
                              unsigned *ret_num_fds)
{
    *ret_len = client->tx_len - client->tx_sent;
    *ret_fds = client->tx_fds.fd;
    *ret_num_fds = client->tx_fds.count;
    if (client->tx_fds.count > 0 && client->tx_sent < client->tx_fds_at) {
        *ret_len = client->tx_fds_at - client->tx_sent;
        *ret_num_fds = 0;
    }
    return client->tx + client->tx_sent;
}

uint8_t *client_receive_space(struct client *client, size_t *ret_len)
{
    *ret_len = client->later ? 0 : client->wire->rx_len - client->rx_len;
    return client->rx + client->rx_len;
}

static int take_frame(struct client *client, const uint8_t *frame, size_t len,
                      bool is_last_received)
{
    if (is_last_received)
        fd_list_move(&client->arrived, &client->waiting);
    struct fd_list fds = client->waiting;
    int err = client->wire->take(client, frame, len, &fds);
    if (err == CLIENT_LATER)
        return err;
    client->waiting.count = 0;
    close_fds(client, &fds);
    return err;
}

/* Takes the whole frames in the buffer. */
static int take_frames(struct client *client)
{
    const struct client_wire *wire = client->wire;
    size_t at = 0;
    int err = 0;
    while (err == 0 && (wire->sends_commands || client->num_calls > 0) &&
           client->rx_len - at >= wire->header_len) {
        int len = wire->frame_len(client, client->rx + at);
        if (len < 0)
            return len;
        assert((size_t)len >= wire->header_len && (size_t)len <= wire->rx_len);
        if (client->rx_len - at < (size_t)len)
            break;
        err = take_frame(client, client->rx + at, (size_t)len, client->rx_len - at == (size_t)len);
        if (err == 0)
            at += (size_t)len;
    }
    client->later = err == CLIENT_LATER;
    client->rx_len -= at;
    if (at > 0 && client->rx_len > 0)
        memmove(client->rx, client->rx + at, client->rx_len);
    return err < 0 ? err : 0;
}

int client_sent(struct client *client, size_t len)
{
    assert(len <= client->tx_len - client->tx_sent);
    client->tx_sent += len;
    if (client->tx_sent > client->tx_fds_at)
        client->tx_fds.count = 0;
    if (client->tx_sent < client->tx_len)
        return 0;
    client->tx_len = client->tx_sent = 0;
    return client->fault.code || !client->later ? 0 : take_frames(client);
}

int client_received(struct client *client, size_t len, const int *fds, unsigned num_fds)
{
    /* Descriptors that arrived before belong to the frame that is first in the buffer now. */
    fd_list_move(&client->arrived, &client->waiting);
    close_fds(client, &client->arrived);
    for (unsigned i = 0; i < num_fds; i++)
        client->arrived.fd[client->arrived.count++] = fds[i];
    if (client->fault.code)
        return -EPROTO;
    assert(len <= client->wire->rx_len - client->rx_len);
    client->rx_len += len;
    if (client->arrived.count + client->waiting.count > client->wire->max_fds)
        return ob_fault_set(&client->fault, -EPROTO,
                            "the remote sent %u descriptors without a request for them",
                            client->arrived.count + client->waiting.count);
    int err = take_frames(client);
    if (err == 0 && !client->wire->sends_commands && client->num_calls == 0 && client->rx_len > 0)
        return ob_fault_set(&client->fault, -EPROTO,
                            "the remote sent %zu bytes without a request for them", client->rx_len);
    return err;
}

bool client_answered(const struct client *client, uint64_t serial, struct client_answer *ret_answer)
{
    for (unsigned i = 0; i < client->num_calls; i++)
        if (client->calls[i].serial == serial)
            return false;
    if (client->answered_serial == serial)
        *ret_answer = client->answer;
    return true;
}

uint8_t *client_put(struct client *client, size_t len)
{
    assert(len <= client->wire->tx_len - client->tx_len);
    uint8_t *at = client->tx + client->tx_len;
    client->tx_put = client->tx_len;
    client->tx_len += len;
    return at;
}

bool client_may_put(const struct client *client, size_t len)
{
    return client->tx_len + len <= client->wire->tx_len / 2;
}

void client_put_fd(struct client *client, int fd)
{
    assert(client->tx_fds.count < LIMIT_FDS_PER_RECEIVE);
    client->tx_fds.fd[client->tx_fds.count++] = fd;
    client->tx_fds_at = client->tx_put;
}

struct client_call *client_expect(struct client *client, enum client_operation operation)
{
    assert(client->num_calls < LIMIT_CLIENT_CALLS);
    struct client_call *call = &client->calls[client->num_calls++];
    *call = (struct client_call){.operation = operation, .serial = ++client->last_serial};
    return call;
}

void client_answer(struct client *client, unsigned call, struct client_answer answer)
{
    assert(call < client->num_calls);
    struct client_call *calls = client->calls;
    if (calls[call].serial > client->answered_serial) {
        client->answered_serial = calls[call].serial;
        client->answer = answer;
    }
    client->num_calls--;
    memmove(calls + call, calls + call + 1, (client->num_calls - call) * sizeof(calls[0]));
}
