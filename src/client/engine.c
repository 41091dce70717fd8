// SPDX-License-Identifier: BSD-3-Clause
#include "client/engine.h"

#include <assert.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

void client_init(struct client *client, const struct client_wire *wire)
{
    *client = (struct client){.wire = wire};
}

bool client_is_answered(enum client_operation operation)
{
    return operation != CLIENT_PUBLISH_MEMORY && operation != CLIENT_SET_INTX;
}

/* Keeps what the guest writes to the BARs' registers: some wires carry addresses, not BARs. */
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
    assert(client->tx_len == 0);
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

const uint8_t *client_pending(const struct client *client, size_t *ret_len, const int **ret_fds,
                              unsigned *ret_num_fds)
{
    *ret_len = client->tx_len - client->tx_sent;
    *ret_fds = client->tx_fds;
    *ret_num_fds = client->num_tx_fds;
    return client->tx + client->tx_sent;
}

void client_sent(struct client *client, size_t len)
{
    assert(len <= client->tx_len - client->tx_sent);
    client->num_tx_fds = 0;
    client->tx_sent += len;
    if (client->tx_sent == client->tx_len)
        client->tx_len = client->tx_sent = 0;
}

uint8_t *client_receive_space(struct client *client, size_t *ret_len)
{
    *ret_len = sizeof(client->rx) - client->rx_len;
    return client->rx + client->rx_len;
}

/* Takes the whole frames in the buffer. */
static int take_frames(struct client *client)
{
    const struct client_wire *wire = client->wire;
    size_t at = 0;
    int err = 0;
    while (err == 0 && client->num_calls > 0 && client->rx_len - at >= wire->header_len) {
        int len = wire->frame_len(client, client->rx + at);
        if (len < 0)
            return len;
        assert((size_t)len >= wire->header_len && (size_t)len <= sizeof(client->rx));
        if (client->rx_len - at < (size_t)len)
            break;
        err = wire->take(client, client->rx + at, (size_t)len);
        at += (size_t)len;
    }
    client->rx_len -= at;
    memmove(client->rx, client->rx + at, client->rx_len);
    return err;
}

int client_received(struct client *client, size_t len, unsigned num_fds)
{
    if (client->fault.code)
        return -EPROTO;
    assert(len <= sizeof(client->rx) - client->rx_len);
    client->rx_len += len;
    if (num_fds > 0)
        return ob_fault_set(&client->fault, -EPROTO,
                            "the remote sent %u descriptors, which nothing asked for", num_fds);
    int err = take_frames(client);
    if (err == 0 && client->num_calls == 0 && client->rx_len > 0)
        return ob_fault_set(&client->fault, -EPROTO,
                            "the remote sent %zu bytes that answer nothing", client->rx_len);
    return err;
}

bool client_answered(const struct client *client, uint64_t serial, uint64_t *ret_value)
{
    if (client->answered_serial < serial)
        return false;
    if (client->answered_serial == serial)
        *ret_value = client->answer;
    return true;
}

uint8_t *client_put(struct client *client, size_t len)
{
    assert(len <= sizeof(client->tx) - client->tx_len);
    uint8_t *at = client->tx + client->tx_len;
    client->tx_len += len;
    memset(at, 0, len);
    return at;
}

void client_put_fd(struct client *client, int fd)
{
    assert(client->num_tx_fds < LIMIT_MPQEMU_FDS);
    client->tx_fds[client->num_tx_fds++] = fd;
}

void client_expect(struct client *client, enum client_operation operation)
{
    assert(client->num_calls < LIMIT_CLIENT_CALLS);
    client->calls[client->num_calls++] =
        (struct client_call){.operation = operation, .serial = ++client->last_serial};
}

void client_answer(struct client *client, uint64_t value)
{
    assert(client->num_calls > 0);
    client->answered_serial = client->calls[0].serial;
    client->answer = value;
    client->num_calls--;
    memmove(client->calls, client->calls + 1, client->num_calls * sizeof(client->calls[0]));
}
