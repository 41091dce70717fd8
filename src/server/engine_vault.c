// SPDX-License-Identifier: BSD-3-Clause
#include "server/engine_vault.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault_point.h"
#include "device/device_vault.h"

static uint8_t *rx_half(const struct engine *engine, unsigned half)
{
    return engine->vault->shared->buffers + half * engine->ops->rx_len;
}

void engine_vault_begin(struct engine *engine)
{
    const struct engine_ops *ops = engine->ops;
    assert(2 * ops->rx_len + ops->tx_len <= LIMIT_VAULT_BUFFERS);
    engine->rx = rx_half(engine, 0);
    engine->tx = engine->vault->shared->buffers + 2 * ops->rx_len;
    engine->vault->now = (struct vault_record){0};
    engine->vault->changed = true;
}

/* Descriptors that the last commit has made useless. */
static void close_useless(struct engine *engine)
{
    const struct server_host *host = device_host(engine->device);
    for (int fd; (fd = vault_next_close(engine->vault)) >= 0;)
        host->close(host->context, fd);
}

static void put(struct engine *engine)
{
    device_vault_put(engine->device);
    if (engine->ops->session)
        engine->ops->session->put(engine);
}

void engine_vault_end(struct engine *engine)
{
    struct vault *vault = engine->vault;
    vault_forget(vault, VAULT_CONNECTION, NULL);
    device_forget_memory(engine->device, VAULT_MEMORY, NULL);
    vault->now = (struct vault_record){0};
    vault->shared->begun = 0; /* positions begin again with the next connection */
    vault->shared->waiting_ns = 0;
    device_vault_put(engine->device);
    device_vault_save(engine->device);
    vault_commit(vault);
    close_useless(engine);
}

void engine_vault_close(struct engine *engine, struct fd_list *fds)
{
    engine->fds_handled += fds->count;
    for (unsigned i = 0; i < fds->count; i++)
        vault_close(engine->vault, fds->fd[i]);
    fds->count = 0;
}

void engine_vault_begin_message(struct engine *engine)
{
    struct vault *vault = engine->vault;
    vault->in_message = true;
    vault->shared->looking = vault->shared->progress + 1;
    fault_point("message-begun");
}

void engine_vault_frame(struct engine *engine, size_t len, bool drained)
{
    struct vault_record *now = &engine->vault->now;
    now->rx_consumed += len;
    if (drained)
        now->rx_origin = now->rx_consumed;
    now->fds_consumed += engine->fds_handled;
    engine->fds_handled = 0;
    engine->vault->effects = 0;
    fault_point("handled");
    put(engine);
    device_vault_save(engine->device);
    vault_commit(engine->vault);
    fault_point("message-committed");
    engine->vault->shared->progress++;
    close_useless(engine);
}

void engine_vault_slide(struct engine *engine, size_t at)
{
    struct vault_record *now = &engine->vault->now;
    uint8_t *to = rx_half(engine, now->rx_half ^ 1);
    memcpy(to, engine->rx + at, engine->rx_len);
    now->rx_half ^= 1;
    now->rx_origin = now->rx_consumed;
    engine->rx = to;
    vault_commit(engine->vault);
}

void engine_vault_settle(struct engine *engine, bool is_put)
{
    if (!is_put)
        put(engine);
    if (!engine->vault->changed)
        return;
    vault_commit(engine->vault);
    /* A frame that waits may be done again from its start, with its descriptors. */
    if (!engine->later)
        close_useless(engine);
}

void engine_vault_replied(struct engine *engine, size_t len, bool has_fds)
{
    struct vault *vault = engine->vault;
    const struct fd_list *fds = &engine->tx_fds;
    if (has_fds) {
        vault->now.tx_fds_at = vault->now.tx_origin + engine->tx_fds_at;
        vault->now.tx_fd_count = fds->count;
        for (unsigned i = 0; i < fds->count; i++) {
            int entry = i < LIMIT_VFIO_USER_FDS ? vault_find(vault, fds->fd[i]) : -1;
            if (entry < 0)
                vault->shared->lost = 1;
            else
                vault->now.tx_entry[i] = (uint32_t)entry;
        }
    }
    vault->now.tx_produced += len;
    vault->changed = true;
}

void engine_vault_sent(struct engine *engine)
{
    struct vault_record *now = &engine->vault->now;
    if (engine->tx_fds.count == 0)
        now->tx_fd_count = 0;
    if (engine->tx_sent == engine->tx_len)
        now->tx_origin = now->tx_produced;
}

int engine_vault_answer_error(struct engine *engine, const uint8_t *frame, size_t len)
{
    if (engine->ops->session && engine->ops->session->answer_error(engine, frame, len))
        return 0;
    return ob_fault_set(&engine->fault, -EPROTO,
                        "a message that ends each process has no answer that says so");
}

static int resume_positions(struct engine *engine, const struct engine_past *past,
                            struct ob_fault *fault)
{
    const struct engine_ops *ops = engine->ops;
    struct vault *vault = engine->vault;
    const struct vault_record *now = &vault->now;
    if (past->received < now->rx_consumed || past->received - now->rx_origin > ops->rx_len ||
        past->sent < now->tx_origin || past->sent > now->tx_produced ||
        now->tx_produced - now->tx_origin > ops->tx_len)
        return ob_fault_set(fault, -EINVAL,
                            "the vault's positions do not match the bytes that were sent");
    engine->rx = rx_half(engine, now->rx_half) + (now->rx_consumed - now->rx_origin);
    engine->rx_len = past->received - now->rx_consumed;
    engine->tx_len = now->tx_produced - now->tx_origin;
    engine->tx_sent = past->sent - now->tx_origin;
    if (engine->tx_sent == engine->tx_len) {
        engine->tx_len = engine->tx_sent = 0;
        vault->now.tx_origin = now->tx_produced;
    }
    return 0;
}

static int resume_reply_fds(struct engine *engine, const struct engine_past *past,
                            struct ob_fault *fault)
{
    struct vault *vault = engine->vault;
    struct vault_record *now = &vault->now;
    if (now->tx_fd_count == 0 || engine->tx_len == 0 || past->sent > now->tx_fds_at) {
        now->tx_fd_count = 0;
        return 0;
    }
    if (now->tx_fds_at < now->tx_origin || now->tx_fds_at >= now->tx_produced)
        return ob_fault_set(fault, -EINVAL, "the vault's answer has descriptors at no byte of it");
    engine->tx_fds_at = now->tx_fds_at - now->tx_origin;
    for (unsigned i = 0; i < now->tx_fd_count; i++) {
        if (!vault_is_valid(vault, now->tx_entry[i]))
            return ob_fault_set(fault, -EINVAL, "the vault's answer has an unknown descriptor");
        engine->tx_fds.fd[engine->tx_fds.count++] = vault_fd(vault, now->tx_entry[i]);
    }
    return 0;
}

/* Those of the last receive may belong to a later frame than the first: engine_received(). */
static int resume_fds(struct engine *engine, const struct engine_past *past, struct ob_fault *fault)
{
    for (unsigned i = 0; i < past->num_fds; i++) {
        struct fd_list *list =
            past->fds[i].end == past->received ? &engine->arrived : &engine->waiting;
        if (list->count == LIMIT_FDS_PER_RECEIVE)
            return ob_fault_set(fault, -EINVAL, "the vault has too many descriptors of messages");
        list->fd[list->count++] = past->fds[i].fd;
    }
    return 0;
}

int engine_resume(struct engine *engine, struct vault *vault, const struct engine_past *past,
                  struct ob_fault *fault)
{
    if (!engine->ops->session)
        return ob_fault_set(fault, -ENOTSUP, "wire %s can't be resumed", engine->ops->wire);
    const struct vault_record was = vault->now;
    free(engine->rx);
    free(engine->tx);
    engine->vault = vault;
    engine_vault_begin(engine);
    vault->now = was;
    int err = resume_positions(engine, past, fault);
    if (err == 0)
        err = device_resume(engine->device, vault, fault);
    if (err == 0)
        err = engine->ops->session->resume(engine, fault);
    if (err == 0)
        err = resume_reply_fds(engine, past, fault);
    if (err == 0)
        err = resume_fds(engine, past, fault);
    if (err < 0) { /* the vault stays as it is, for the next process */
        engine->vault = NULL;
        engine->rx = engine->tx = NULL;
        return err;
    }
    engine->poisoned = past->poisoned && engine->rx_len > 0;
    engine->at_hand = past->at_hand && engine->rx_len > 0;
    put(engine);
    engine_vault_slide(engine, 0);
    device_resumed(engine->device);
    return 0;
}
