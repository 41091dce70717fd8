// SPDX-License-Identifier: BSD-3-Clause
/* Frames as they go over a raw line. */
#ifndef OUTBOARD_SESSION_LINE_H
#define OUTBOARD_SESSION_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line_out;

struct line_out *line_out_new(void);
void line_out_free(struct line_out *line);
void line_out_reset(struct line_out *line);
bool line_out_full(const struct line_out *line);
void line_out_frame(struct line_out *line, const uint8_t *head, const uint8_t *payload, size_t len);
size_t line_out_waiting(const struct line_out *line, const uint8_t **ret_bytes);
void line_out_sent(struct line_out *line, size_t len);

#endif
