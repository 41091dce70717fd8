// SPDX-License-Identifier: BSD-3-Clause
/* The guest's accesses, and reset: each is one call. */
#include "remote/client.h"

#include <errno.h>

#include "base/access.h"

static bool is_size(unsigned size, unsigned max)
{
    return size > 0 && size <= max && !(size & (size - 1));
}

/* A read: whatever goes wrong, the guest gets all ones. */
static int read_value(struct ob_client *client, const struct client_request *request,
                      uint64_t *ret_value)
{
    uint64_t value = UINT64_MAX;
    int err = client_call(client, request, &value);
    *ret_value = (err < 0 ? UINT64_MAX : value) & access_ones(request->size);
    return err;
}

int ob_client_config_read(struct ob_client *client, uint32_t offset, unsigned size,
                          uint32_t *ret_value)
{
    const struct client_request request = {
        .operation = CLIENT_CONFIG_READ, .offset = offset, .size = size};
    if (!ret_value)
        return -EINVAL;
    *ret_value = UINT32_MAX;
    if (!is_size(size, 4))
        return -EINVAL;
    uint64_t value;
    int err = read_value(client, &request, &value);
    *ret_value = (uint32_t)value;
    return err;
}

int ob_client_config_write(struct ob_client *client, uint32_t offset, unsigned size, uint32_t value)
{
    const struct client_request request = {
        .operation = CLIENT_CONFIG_WRITE, .offset = offset, .size = size, .value = value};
    uint64_t unused;
    return is_size(size, 4) ? client_call(client, &request, &unused) : -EINVAL;
}

static bool fits_bar(const struct ob_client *client, unsigned bar, uint64_t offset, unsigned size)
{
    if (!client->probed || bar >= OB_BAR_COUNT || !is_size(size, LIMIT_ACCESS_BYTES))
        return false;
    uint64_t len = client->bar_lens[bar];
    return offset < len && size <= len - offset;
}

int ob_client_bar_read(struct ob_client *client, unsigned bar, uint64_t offset, unsigned size,
                       uint64_t *ret_value)
{
    const struct client_request request = {
        .operation = CLIENT_BAR_READ, .bar = bar, .offset = offset, .size = size};
    if (!ret_value)
        return -EINVAL;
    *ret_value = UINT64_MAX;
    return fits_bar(client, bar, offset, size) ? read_value(client, &request, ret_value) : -EINVAL;
}

int ob_client_bar_write(struct ob_client *client, unsigned bar, uint64_t offset, unsigned size,
                        uint64_t value)
{
    const struct client_request request = {
        .operation = CLIENT_BAR_WRITE, .bar = bar, .offset = offset, .size = size, .value = value};
    uint64_t unused;
    if (!fits_bar(client, bar, offset, size))
        return -EINVAL;
    if (client->options.posted_writes && client->wire->post_write &&
        client->engine.bars[bar].kind != OB_BAR_IO)
        return client->wire->post_write(client, bar, offset, size, value);
    return client_call(client, &request, &unused);
}

int ob_client_reset(struct ob_client *client)
{
    const struct client_request request = {.operation = CLIENT_RESET};
    uint64_t unused;
    return client_call(client, &request, &unused);
}
