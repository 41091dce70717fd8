// SPDX-License-Identifier: BSD-3-Clause
/* mpqemu above its engine: a table of at most seven regions, two eventfds, and a probe of BARs by
 * the bits that stay in their registers. */
#include <errno.h>

#include "client/probe.h"
#include "remote/client.h"

#define CONFIG_LEN 256u /* the length that x-pci-proxy-dev forwards */

static int publish_memory(struct ob_client *client, const struct ob_client_region *regions,
                          unsigned count, struct ob_fault *fault)
{
    uint64_t unused;
    for (unsigned i = 0; i < count; i++)
        if (regions[i].memory || regions[i].read_only)
            return ob_fault_set(fault, -EOPNOTSUPP,
                                "mpqemu: got memory without a descriptor or read-only memory, "
                                "which only vfio-user has");
    if (count > LIMIT_MPQEMU_REGIONS)
        return ob_fault_set(fault, -E2BIG,
                            "got %u separate memory regions, expected at most %d over mpqemu",
                            count, LIMIT_MPQEMU_REGIONS);
    const struct client_request request = {
        .operation = CLIENT_PUBLISH_MEMORY, .regions = regions, .num_regions = count};
    return client_call(client, &request, &unused);
}

static int set_intx(struct ob_client *client, int trigger_fd, int resample_fd)
{
    const struct client_request request = {
        .operation = CLIENT_SET_INTX, .trigger_fd = trigger_fd, .resample_fd = resample_fd};
    uint64_t unused;
    return client_call(client, &request, &unused);
}

static int probe_read(void *context, uint32_t offset, unsigned size, uint32_t *ret_value)
{
    return ob_client_config_read(context, offset, size, ret_value);
}

static int probe_write(void *context, uint32_t offset, unsigned size, uint32_t value)
{
    return ob_client_config_write(context, offset, size, value);
}

static int probe(struct ob_client *client, struct ob_client_info *ret_info, struct ob_fault *fault)
{
    const struct probe_config config = {
        .read = probe_read, .write = probe_write, .context = client};
    int err = probe_device(&config, ret_info, fault);
    if (err < 0)
        return err;
    ret_info->config_len = CONFIG_LEN;
    ret_info->vectors[OB_CLIENT_INTX] = ret_info->intx;
    for (unsigned i = 0; i < OB_BAR_COUNT; i++)
        client->bar_lens[i] = ret_info->bars[i].size;
    return 0;
}

const struct remote_wire remote_mpqemu = {
    .engine = &client_mpqemu,
    .publish_memory = publish_memory,
    .set_intx = set_intx,
    .probe = probe,
};

const struct remote_wire remote_mpqemu_v8 = {
    .engine = &client_mpqemu_v8,
    .publish_memory = publish_memory,
    .set_intx = set_intx,
    .probe = probe,
};
