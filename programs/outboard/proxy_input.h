// SPDX-License-Identifier: BSD-3-Clause
/*
 * Standard input of `outboard proxy run`.
 *
 * A terminal has an escape, as ssh's: ~ at the beginning of a line, then . to end, ~ for itself.
 * It is looked for even while earlier keys can't be sent: up to a limit they are held, and
 * beyond that keys are lost, as a terminal itself loses it.
 */
#ifndef OUTBOARD_PROGRAMS_PROXY_INPUT_H
#define OUTBOARD_PROGRAMS_PROXY_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define INPUT_MAX 16384 /* of one reading, and held */

struct input {
    bool is_terminal; /* with an escape */
    bool is_open;
    bool at_line_start, after_tilde;
    int nothing; /* /dev/null, in place of standard input that nobody wants; 0: it is opened then */
    uint64_t stuck_since_ns; /* no room for further keys; 0: there is */
    size_t len;
    uint8_t held[2 * INPUT_MAX];
};

void input_init(struct input *input, bool is_terminal);

/* Whether to wait for more to read: there is room, or else it has been typed for a while without
 * any being sent. *timeout_ms becomes how long to wait for the latter. */
bool input_wanted(struct input *input, int *timeout_ms);

/* Reads once. Returns whether the escape asks to end. */
bool input_read(struct input *input);

/* Interprets a terminal's bytes, in place: returns how many are left; *ret_ended: "~." was there. */
size_t input_unescape(struct input *input, const uint8_t *bytes, size_t len, uint8_t *ret_bytes,
                      bool *ret_ended);

/* Nobody wants it any more: the held bytes go, and so does our end of it, which its writer sees. */
void input_close(struct input *input);

/* Moves up to size held bytes out. *ret_end: nothing more will come, and nothing is held. */
size_t input_take(struct input *input, void *ret_bytes, size_t size, bool *ret_end);

#endif
