// SPDX-License-Identifier: BSD-3-Clause
/*
 * An engine and its device's vault: one frame is one commit of the bytes consumed, of the answer, and
 * of the effects. engine.c calls this if there is a vault.
 *
 * Buffers. Nothing is moved in place, since a move that is cut short leaves neither state. Bytes
 * that remain of a receive go to the other half of the buffer, and one commit makes it the one that
 * is used.
 */
#ifndef OUTBOARD_SERVER_ENGINE_VAULT_H
#define OUTBOARD_SERVER_ENGINE_VAULT_H

#include "server/engine.h"

/* A session begins: the buffers lie in the vault. */
void engine_vault_begin(struct engine *engine);
/* It is over: no successor can continue it. */
void engine_vault_end(struct engine *engine);

/* Descriptors of the frame that is being handled, which nobody took, are closed after its commit. */
void engine_vault_close(struct engine *engine, struct fd_list *fds);
/* A frame is looked at: if the process dies now, the frame is a suspect. */
void engine_vault_begin_message(struct engine *engine);
/* A frame of len bytes is done; `drained`: it was the last in the buffer. */
void engine_vault_frame(struct engine *engine, size_t len, bool drained);
/* The bytes behind the first `at` come to the start of the buffer. */
void engine_vault_slide(struct engine *engine, size_t at);
/* Commits changes besides frames; `is_put`: the device has not worked since the last. */
void engine_vault_settle(struct engine *engine, bool is_put);

/* Bytes were appended for the peer; all that were are sent, or some. */
void engine_vault_replied(struct engine *engine, size_t len, bool has_fds);
void engine_vault_sent(struct engine *engine);

/* As engine_ops.handle() of a frame that kills each process that looks at it. */
int engine_vault_answer_error(struct engine *engine, const uint8_t *frame, size_t len);

#endif
