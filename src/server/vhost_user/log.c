// SPDX-License-Identifier: BSD-3-Clause
/*
 * The dirty log of migration: SET_LOG_BASE. Its bits are the front end's, which reads and clears them
 * at any time; memory/dirty.h sets them after each write while LOG_ALL is set. The device's writes to
 * rings go the same way as those to data, so the flag and the address of a log that a ring has
 * (SET_VRING_ADDR) say nothing new.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "device/device_vault.h"
#include "server/vhost_user/vhost_user.h"

void vhost_user_log_update(struct vhost_user_server *server)
{
    struct dirty_log *dirty = &device_memory(server->engine.device)->dirty;
    const bool on = server->features & UINT64_C(1) << VHOST_USER_F_LOG_ALL;
    dirty_share(dirty, on ? server->log.bytes : NULL, server->log.len);
}

void vhost_user_log_stop(struct vhost_user_server *server)
{
    const struct memory_host *host = &device_host(server->engine.device)->memory;
    dirty_share(&device_memory(server->engine.device)->dirty, NULL, 0);
    device_forget_memory(server->engine.device, VAULT_LOG, NULL);
    if (server->log.bytes)
        host->unmap(host->context, server->log.bytes, server->log.len);
    server->log = (struct vhost_user_shared){0};
}

/* As memory whose address is the offset. */
static void keep_log(struct vhost_user_message *message, const struct vhost_user_log *log)
{
    const struct memory_region_desc desc = {
        .gpa = log->offset, .len = log->size, .fd = message->fds->fd[0]};
    if (!device_vault(message->device))
        return;
    device_keep_memory(message->device, VAULT_LOG, &desc);
    message->fds->fd[0] = -1;
}

int vhost_user_log_resume(struct vhost_user_server *server, struct ob_fault *fault)
{
    const struct memory_host *host = &device_host(server->engine.device)->memory;
    struct memory_region_desc desc;
    struct memory_file file;
    if (device_kept_memory(server->engine.vault, VAULT_LOG, &desc, 1) == 0)
        return 0;
    if (desc.len == 0 || desc.gpa % MEMORY_PAGE || desc.gpa + desc.len < desc.gpa)
        return ob_fault_set(fault, -EINVAL, "the vault has a log that can't be");
    int err = host->map(host->context, desc.fd, desc.gpa, desc.len, true, &server->log.bytes, &file,
                        fault);
    if (err < 0)
        return err;
    server->log.len = desc.len;
    vhost_user_log_update(server);
    return 0;
}

/* Maps the new one before the old one goes: no write is missing in both. */
static int replace_log(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    const struct memory_host *host = &device_host(message->device)->memory;
    struct vhost_user_log log = {0};
    struct vhost_user_shared shared = {0};
    struct memory_file file;
    vhost_user_log_get(message->payload, message->len, &log);
    if (message->fds->count != 1)
        return vhost_user_refuse(message, -EINVAL, "got no descriptor, expected the log");
    if (log.size == 0 || log.offset % MEMORY_PAGE || log.offset + log.size < log.offset)
        return vhost_user_refuse(message, -EINVAL,
                                 "got 0x%" PRIx64 " bytes at offset 0x%" PRIx64
                                 ", expected some, from a page's start",
                                 log.size, log.offset);
    shared.len = log.size;
    int err = host->map(host->context, message->fds->fd[0], log.offset, log.size, true,
                        &shared.bytes, &file, &message->fault);
    if (err < 0)
        return vhost_user_refuse(message, err, "can't map the log: %s", strerror(-err));
    vhost_user_log_stop(server);
    server->log = shared;
    vhost_user_log_update(server);
    keep_log(message, &log);
    return 0;
}

int vhost_user_set_log_base(struct vhost_user_message *message)
{
    int err = replace_log(message);
    if (err < 0) /* the front end is told by a number */
        ob_device_warn(message->device, "refused SET_LOG_BASE: %s", message->fault.text);
    wr_u64(&message->reply, err < 0 ? 1 : 0);
    return 0;
}

/* An eventfd for a log that is looked at when it is signalled. QEMU's is looked at anyway. */
int vhost_user_set_log_fd(struct vhost_user_message *message)
{
    return 0;
}
