// SPDX-License-Identifier: BSD-3-Clause
/* Regions as a whole: many bytes, many writes, and the ways past the client. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "base/access.h"
#include "base/auto.h"
#include "base/cursor.h"
#include "os/event.h"
#include "remote/vfio_user.h"

static bool is_present(const struct ob_client *client, unsigned region, uint64_t offset, size_t len)
{
    uint64_t size;
    if (region > OB_CLIENT_REGION_CONFIG)
        return false;
    if (client->remote)
        size = client->remote->regions[region].size;
    else if (region == OB_CLIENT_REGION_CONFIG)
        size = UINT32_MAX; /* the remote knows */
    else
        size = region < OB_BAR_COUNT ? client->bar_lens[region] : 0;
    return offset <= size && len <= size - offset;
}

static int read_register(struct ob_client *client, unsigned region, uint64_t offset, unsigned size,
                         uint64_t *ret_value)
{
    uint32_t value;
    if (region != OB_CLIENT_REGION_CONFIG)
        return ob_client_bar_read(client, region, offset, size, ret_value);
    int err = ob_client_config_read(client, (uint32_t)offset, size, &value);
    *ret_value = value;
    return err;
}

static int write_register(struct ob_client *client, unsigned region, uint64_t offset, unsigned size,
                          uint64_t value)
{
    if (region != OB_CLIENT_REGION_CONFIG)
        return ob_client_bar_write(client, region, offset, size, value);
    return ob_client_config_write(client, (uint32_t)offset, size, (uint32_t)value);
}

/* A transfer over a wire that knows registers only. */
static int transfer_registers(struct ob_client *client, unsigned region, uint64_t offset,
                              uint8_t *buf, size_t len, bool write)
{
    const unsigned widest = region == OB_CLIENT_REGION_CONFIG ? 4 : LIMIT_ACCESS_BYTES;
    int err = 0;
    while (len > 0 && err == 0) {
        unsigned size = access_piece(offset, len, widest);
        if (write) {
            err = write_register(client, region, offset, size, access_get(buf, size));
        } else {
            uint64_t value;
            err = read_register(client, region, offset, size, &value);
            access_put(buf, value, size);
        }
        buf += size;
        offset += size;
        len -= size;
    }
    return err;
}

/* One message of a transfer, no longer than the remote takes. */
static int transfer_piece(struct ob_client *client, const struct vfio_user_access *access,
                          uint8_t *buf, bool write)
{
    uint8_t head[VFIO_USER_ACCESS_LEN], answer[VFIO_USER_ACCESS_LEN];
    struct vfio_user_access said;
    vfio_user_access_put(head, sizeof(head), access);
    const struct vfio_user_question question = {
        .message = {.command = write ? VFIO_USER_REGION_WRITE : VFIO_USER_REGION_READ,
                    .head = head,
                    .head_len = sizeof(head),
                    .data = buf,
                    .data_len = write ? access->count : 0},
    };
    struct client_reply reply = {.head = answer, .head_len = sizeof(answer)};
    if (!write) {
        reply.data = buf;
        reply.data_len = access->count;
    }
    int err = vfio_user_ask(client, &question, &reply);
    if (err < 0)
        return err;
    if (reply.len == sizeof(answer) + reply.data_len) {
        vfio_user_access_get(answer, sizeof(answer), &said);
        if (said.count == access->count)
            return 0;
    }
    struct ob_fault fault = {0};
    ob_fault_set(&fault, -EPROTO,
                 "the remote's reply to an access of %u bytes: got a payload of %zu", access->count,
                 reply.len);
    return vfio_user_reject(client, &fault);
}

static int transfer(struct ob_client *client, unsigned region, uint64_t offset, uint8_t *buf,
                    size_t len, bool write)
{
    int err = client_prepare(client);
    if (err < 0)
        return err;
    if (!is_present(client, region, offset, len))
        return -EINVAL;
    if (!client->remote)
        return transfer_registers(client, region, offset, buf, len, write);
    uint64_t most = client->engine.capabilities.max_data_xfer_size;
    while (len > 0 && err == 0) {
        size_t piece = len < most ? len : (size_t)most;
        const struct vfio_user_access access = {
            .offset = offset, .region = region, .count = (uint32_t)piece};
        err = transfer_piece(client, &access, buf, write);
        buf += piece;
        offset += piece;
        len -= piece;
    }
    return err;
}

int ob_client_read_bytes(struct ob_client *client, unsigned region, uint64_t offset, void *ret_buf,
                         size_t len)
{
    if (!ret_buf && len > 0)
        return -EINVAL;
    if (len > 0)
        memset(ret_buf, 0xff, len);
    return transfer(client, region, offset, ret_buf, len, false);
}

int ob_client_write_bytes(struct ob_client *client, unsigned region, uint64_t offset,
                          const void *buf, size_t len)
{
    return buf || len == 0 ? transfer(client, region, offset, (uint8_t *)buf, len, true) : -EINVAL;
}

static bool is_write(const struct ob_client *client, const struct ob_client_write *write)
{
    const unsigned size = write->size;
    return client->probed && write->bar < OB_BAR_COUNT && size > 0 && size <= LIMIT_ACCESS_BYTES &&
           !(size & (size - 1)) && is_present(client, write->bar, write->offset, size);
}

/* The answer to REGION_WRITE_MULTI: 0 wr_cnt, how many writes were done. */
static int check_written(struct ob_client *client, const uint8_t *answer, size_t len,
                         unsigned count)
{
    struct rd rd = rd_init(answer, len);
    uint64_t written = rd_u64(&rd);
    struct ob_fault fault = {0};
    if (rd_done(&rd) == 0 && written == count)
        return 0;
    ob_fault_set(&fault, -EPROTO, "the remote's reply to %u writes: got %zu bytes, %llu writes",
                 count, len, (unsigned long long)written);
    return vfio_user_reject(client, &fault);
}

/* One REGION_WRITE_MULTI: 0 wr_cnt, 8 writes: 0 offset, 8 region, 12 count, 16 data. */
static int write_multi(struct ob_client *client, const struct ob_client_write *writes,
                       unsigned count)
{
    const size_t len = 8 + (size_t)count * VFIO_USER_WRITE_LEN;
    AUTO_FREE uint8_t *buf = malloc(len);
    uint8_t answer[8];
    if (!buf)
        return -ENOMEM;
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, count);
    for (unsigned i = 0; i < count; i++) {
        wr_u64(&wr, writes[i].offset);
        wr_u32(&wr, writes[i].bar);
        wr_u32(&wr, writes[i].size);
        wr_u64(&wr, writes[i].value);
    }
    const struct vfio_user_question question = {
        .message = {.command = VFIO_USER_REGION_WRITE_MULTI, .head = buf, .head_len = len}};
    struct client_reply reply = {.head = answer, .head_len = sizeof(answer)};
    int err = vfio_user_ask(client, &question, &reply);
    return err < 0 ? err : check_written(client, answer, reply.len, count);
}

/* How many writes a message may have. */
static unsigned most_writes(const struct ob_client *client)
{
    uint64_t most = client->engine.capabilities.max_data_xfer_size / VFIO_USER_WRITE_LEN;
    return most < LIMIT_VFIO_USER_WRITES ? (unsigned)most : LIMIT_VFIO_USER_WRITES;
}

int ob_client_bar_write_many(struct ob_client *client, const struct ob_client_write *writes,
                             unsigned count)
{
    int err = writes || count == 0 ? client_prepare(client) : -EINVAL;
    for (unsigned i = 0; i < count && err == 0; i++)
        if (!is_write(client, &writes[i]))
            err = -EINVAL;
    const unsigned most = most_writes(client);
    const bool together = client->remote && client->engine.capabilities.write_multiple && most > 0;
    for (unsigned i = 0; i < count && err == 0 && !together; i++)
        err = ob_client_bar_write(client, writes[i].bar, writes[i].offset, writes[i].size,
                                  writes[i].value);
    for (unsigned done = 0; done < count && err == 0 && together;) {
        unsigned piece = count - done < most ? count - done : most;
        err = write_multi(client, writes + done, piece);
        done += piece;
    }
    return err;
}

static bool is_bar(const struct ob_client *client, unsigned bar)
{
    return client->probed && bar < OB_BAR_COUNT && client->bar_lens[bar] > 0;
}

int ob_client_bar_areas(struct ob_client *client, unsigned bar, struct ob_client_area *ret_areas,
                        unsigned max)
{
    if (!client->remote)
        return -EOPNOTSUPP;
    if (!is_bar(client, bar) || (!ret_areas && max > 0))
        return -EINVAL;
    const struct client_region *region = &client->remote->regions[bar];
    int fd = client->remote->region_fds[bar];
    int seals = fd >= 0 ? fcntl(fd, F_GET_SEALS) : 0;
    for (unsigned i = 0; i < region->num_areas && i < max; i++)
        ret_areas[i] = (struct ob_client_area){
            .offset = region->areas[i].offset,
            .len = region->areas[i].len,
            .fd = fd,
            .file_offset = region->file_offset + region->areas[i].offset,
            .sealed = seals > 0 && seals & F_SEAL_SHRINK,
        };
    return (int)region->num_areas;
}

/* Gives each eventfd a descriptor of its own, in place of the number of the one that came. */
static int own_fds(const struct client_reply *reply, struct ob_client_eventfd *eventfds,
                   unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int fd = fcntl(reply->fds.fd[eventfds[i].fd], F_DUPFD_CLOEXEC, 0);
        int err = -errno;
        if (fd >= 0) {
            eventfds[i].fd = fd;
            continue;
        }
        while (i > 0)
            close(eventfds[--i].fd);
        return err;
    }
    return (int)count;
}

/* Their receiver writes to them, so each must be one that does not wait. */
static int check_eventfds(const struct client_reply *reply, struct ob_fault *fault)
{
    for (unsigned i = 0; i < reply->fds.count; i++)
        if (event_check(reply->fds.fd[i]) < 0)
            return ob_fault_set(fault, -EPROTO,
                                "eventfds: descriptor %u does not come from the remote", i);
    return 0;
}

int ob_client_bar_eventfds(struct ob_client *client, unsigned bar,
                           struct ob_client_eventfd *ret_eventfds, unsigned max)
{
    uint8_t head[VFIO_USER_REGION_IO_FDS_LEN];
    struct ob_fault fault = {0};
    unsigned count;
    if (!client->remote)
        return -EOPNOTSUPP;
    if (!is_bar(client, bar) || (!ret_eventfds && max > 0))
        return -EINVAL;
    if (max > LIMIT_CLIENT_EVENTFDS)
        max = LIMIT_CLIENT_EVENTFDS;
    const size_t len =
        VFIO_USER_REGION_IO_FDS_LEN + (size_t)LIMIT_CLIENT_EVENTFDS * VFIO_USER_SUB_REGION_LEN;
    AUTO_FREE uint8_t *answer = malloc(len);
    if (!answer)
        return -ENOMEM;
    const struct vfio_user_region_io_fds io_fds = {.argsz = (uint32_t)len, .index = bar};
    vfio_user_region_io_fds_put(head, sizeof(head), &io_fds);
    const struct vfio_user_question question = {
        .message = {
            .command = VFIO_USER_DEVICE_GET_REGION_IO_FDS, .head = head, .head_len = sizeof(head)}};
    struct client_reply reply = {.head = answer, .head_len = len, .max_fds = LIMIT_VFIO_USER_FDS};
    int err = vfio_user_ask(client, &question, &reply);
    if (err < 0)
        return err;
    err = vfio_user_eventfds_parse(answer, reply.len, bar, reply.fds.count, ret_eventfds, max,
                                   &count, &fault);
    if (err == 0)
        err = check_eventfds(&reply, &fault);
    if (err == 0)
        err = own_fds(&reply, ret_eventfds, count);
    client_drop(&client->engine, &reply);
    return fault.code ? vfio_user_reject(client, &fault) : err;
}
