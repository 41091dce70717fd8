// SPDX-License-Identifier: BSD-3-Clause
/*
 * vfio-user above its engine: the greeting, after which the remote's device is known,
 * and the probe, which tells.
 */
#include "remote/vfio_user.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "base/access.h"
#include "base/auto.h"
#include "client/probe.h"
#include "os/closer.h"
#include "os/shared_memory.h"

#define CONFIG OB_CLIENT_REGION_CONFIG

static int start(struct ob_client *client)
{
    struct vfio_user_remote *remote = calloc(1, sizeof(*remote));
    if (!remote)
        return -ENOMEM;
    memory_init(&remote->memory, vfio_user_memory_host());
    for (unsigned i = 0; i <= CONFIG; i++)
        remote->region_fds[i] = -1;
    client->host.memory_read = vfio_user_memory_read;
    client->host.memory_write = vfio_user_memory_write;
    client->host.context = remote;
    client->remote = remote;
    return 0;
}

static void lost(struct ob_client *client)
{
    struct vfio_user_remote *remote = client->remote;
    if (!remote)
        return;
    memory_done(&remote->memory);
    for (unsigned i = 0; i <= CONFIG; i++) {
        if (remote->region_fds[i] >= 0)
            closer_close(take_fd(&remote->region_fds[i]));
        remote->regions[i].num_areas = 0;
    }
}

static int post_write(struct ob_client *client, unsigned bar, uint64_t offset, unsigned size,
                      uint64_t value)
{
    uint8_t head[VFIO_USER_ACCESS_LEN], data[LIMIT_ACCESS_BYTES];
    const struct vfio_user_access access = {.offset = offset, .region = bar, .count = size};
    vfio_user_access_put(head, sizeof(head), &access);
    access_put(data, value, size);
    const struct vfio_user_question question = {.message = {.command = VFIO_USER_REGION_WRITE,
                                                            .posted = true,
                                                            .head = head,
                                                            .head_len = sizeof(head),
                                                            .data = data,
                                                            .data_len = size}};
    return vfio_user_ask(client, &question, NULL);
}

static int agree_on_version(struct ob_client *client, struct ob_fault *fault)
{
    static const struct vfio_user_version offer = {
        .capabilities =
            {
                .max_msg_fds = LIMIT_VFIO_USER_FDS,
                .max_data_xfer_size = LIMIT_VFIO_USER_DATA,
                .pgsizes = MEMORY_PAGE,
                .max_dma_maps = LIMIT_MEMORY_REGIONS,
                .write_multiple = true,
            },
    };
    uint8_t text[VFIO_USER_VERSION_LEN + 256], answer[VFIO_USER_VERSION_LEN + LIMIT_VFIO_USER_JSON];
    int len = vfio_user_version_offer_put(text, sizeof(text), &offer);
    const struct vfio_user_question question = {
        .message = {.command = VFIO_USER_VERSION, .head = text, .head_len = (size_t)len}};
    struct client_reply reply = {.head = answer, .head_len = sizeof(answer)};
    int err = vfio_user_ask(client, &question, &reply);
    if (err == 0)
        err = vfio_user_agreement_parse(answer, reply.len, &offer.capabilities,
                                        &client->engine.capabilities, fault);
    client->engine.opened = err == 0;
    return err;
}

static int ask_for_device(struct ob_client *client, struct ob_fault *fault)
{
    uint8_t head[VFIO_USER_DEVICE_INFO_LEN], answer[VFIO_USER_DEVICE_INFO_LEN];
    const struct vfio_user_device_info info = {.argsz = sizeof(answer)};
    vfio_user_device_info_put(head, sizeof(head), &info);
    const struct vfio_user_question question = {
        .message = {.command = VFIO_USER_DEVICE_GET_INFO, .head = head, .head_len = sizeof(head)}};
    struct client_reply reply = {.head = answer, .head_len = sizeof(answer)};
    int err = vfio_user_ask(client, &question, &reply);
    return err < 0 ? err
                   : vfio_user_device_parse(answer, reply.len, &client->remote->device, fault);
}

/* Whether the areas of a region can be mapped. If it is no memory, its user would wait
 * for the remote; if it is shorter, its user would die. */
static bool has_areas(const struct client_region *region, int fd)
{
    uint64_t end = 0;
    const char *kind;
    for (unsigned i = 0; i < region->num_areas; i++)
        if (region->areas[i].offset + region->areas[i].len > end)
            end = region->areas[i].offset + region->areas[i].len;
    return end > 0 && region->file_offset <= UINT64_MAX - end &&
           shared_memory_check(fd, region->file_offset + end, &kind) == 0;
}

/* A region, with the descriptor by which it can be mapped. A region that the remote refuses to describe
 * does not exist. */
static int ask_for_region(struct ob_client *client, unsigned index, struct ob_fault *fault)
{
    struct vfio_user_remote *remote = client->remote;
    struct client_region *region = &remote->regions[index];
    uint8_t head[VFIO_USER_REGION_INFO_LEN], answer[CLIENT_REGION_INFO_LEN];
    const struct vfio_user_region_info info = {.argsz = sizeof(answer), .index = index};
    vfio_user_region_info_put(head, sizeof(head), &info);
    const struct vfio_user_question question = {
        .message = {
            .command = VFIO_USER_DEVICE_GET_REGION_INFO, .head = head, .head_len = sizeof(head)}};
    struct client_reply reply = {.head = answer, .head_len = sizeof(answer), .max_fds = 1};
    int err = vfio_user_ask(client, &question, &reply);
    if (err == -EREMOTEIO)
        return 0;
    if (err == 0)
        err = vfio_user_region_parse(answer, reply.len, index, region, fault);
    if (err == 0 && reply.fds.count == 1 && has_areas(region, reply.fds.fd[0]))
        remote->region_fds[index] = take_fd(&reply.fds.fd[0]);
    if (remote->region_fds[index] < 0)
        region->num_areas = 0;
    client_drop(&client->engine, &reply);
    return err;
}

static int ask_for_irqs(struct ob_client *client, unsigned index, struct ob_fault *fault)
{
    uint8_t head[VFIO_USER_IRQ_INFO_LEN], answer[VFIO_USER_IRQ_INFO_LEN];
    const struct vfio_user_irq_info info = {.argsz = sizeof(answer), .index = index};
    vfio_user_irq_info_put(head, sizeof(head), &info);
    const struct vfio_user_question question = {
        .message = {
            .command = VFIO_USER_DEVICE_GET_IRQ_INFO, .head = head, .head_len = sizeof(head)}};
    struct client_reply reply = {.head = answer, .head_len = sizeof(answer)};
    int err = vfio_user_ask(client, &question, &reply);
    if (err == -EREMOTEIO)
        return 0;
    return err < 0 ? err
                   : vfio_user_irqs_parse(answer, reply.len, index, &client->remote->vectors[index],
                                          fault);
}

static int greet(struct ob_client *client)
{
    struct ob_fault fault = {0};
    int err = agree_on_version(client, &fault);
    if (err == 0)
        err = ask_for_device(client, &fault);
    for (unsigned i = 0; err == 0 && i <= CONFIG; i++)
        err = ask_for_region(client, i, &fault);
    for (unsigned i = 0; err == 0 && i < client->remote->device.num_irqs; i++)
        err = ask_for_irqs(client, i, &fault);
    const uint64_t config_len = client->remote->regions[CONFIG].size;
    if (err == 0 && (config_len < PCI_STD_HEADER_SIZEOF || config_len > PCI_CFG_SPACE_EXP_SIZE))
        ob_fault_set(&fault, -ENODEV,
                     "the remote's device is not a PCI device: got configuration space of %llu "
                     "bytes, expected %d to %d",
                     (unsigned long long)config_len, PCI_STD_HEADER_SIZEOF, PCI_CFG_SPACE_EXP_SIZE);
    if (err == -EREMOTEIO)
        ob_fault_set(&fault, err, "the remote refuses the greeting: %s",
                     strerror(-client->refusal));
    else if (err == -ETIMEDOUT)
        ob_fault_set(&fault, -ENOTCONN, "the remote does not answer the greeting");
    if (fault.code)
        return vfio_user_reject(client, &fault);
    return err;
}

/* The size of BARs is a power of two, that of regions need not be. */
static int describe_bar(const struct client_region *region, uint32_t bar_register,
                        struct ob_client_bar *ret_bar)
{
    probe_bar_kind(bar_register, ret_bar);
    uint64_t most = UINT64_C(1) << (ret_bar->kind == OB_BAR_MEM64 ? 63 : 31);
    if (region->size > most)
        return -EPROTO;
    ret_bar->size = 1;
    while (ret_bar->size < region->size)
        ret_bar->size *= 2;
    if (region->num_areas > 0)
        ret_bar->flags |= OB_BAR_MEMORY;
    return 0;
}

static int probe_read(void *context, uint32_t offset, unsigned size, uint32_t *ret_value)
{
    return ob_client_config_read(context, offset, size, ret_value);
}

static int probe(struct ob_client *client, struct ob_client_info *ret_info, struct ob_fault *fault)
{
    const struct probe_config config = {.read = probe_read, .context = client};
    struct ob_client_info info = {0};
    int err = probe_ids(&config, &info, fault);
    for (unsigned i = 0; i < OB_BAR_COUNT && err == 0; i++) {
        const struct client_region *region = &client->remote->regions[i];
        uint32_t bar_register;
        client->bar_lens[i] = region->size;
        if (region->size == 0)
            continue;
        err = probe_read(client, PCI_BASE_ADDRESS_0 + 4 * i, 4, &bar_register);
        if (err == 0 && describe_bar(region, bar_register, &info.bars[i]) < 0)
            return ob_fault_set(fault, -EPROTO, "BAR %u can't have %" PRIu64 " bytes", i,
                                region->size);
        if (info.bars[i].kind != OB_BAR_MEM64)
            continue;
        if (++i == OB_BAR_COUNT || client->remote->regions[i].size > 0)
            return ob_fault_set(fault, -EPROTO, "BAR %u has 64 bits, but no room for them", i - 1);
    }
    if (err < 0)
        return err;
    info.config_len = (uint32_t)client->remote->regions[CONFIG].size;
    memcpy(info.vectors, client->remote->vectors, sizeof(info.vectors));
    info.intx = info.intx && info.vectors[OB_CLIENT_INTX] > 0;
    *ret_info = info;
    return 0;
}

const struct remote_wire remote_vfio_user = {
    .engine = &client_vfio_user,
    .start = start,
    .lost = lost,
    .greet = greet,
    .publish_memory = vfio_user_publish_memory,
    .set_intx = vfio_user_set_intx,
    .unmask_intx = vfio_user_unmask_intx,
    .post_write = post_write,
    .probe = probe,
};
