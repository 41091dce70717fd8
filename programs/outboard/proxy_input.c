// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/clock.h"

/* A paste that outruns the channel waits so long in the terminal for the channel to move. */
#define PATIENCE_NS 1000000000u

void input_init(struct input *input, bool is_terminal)
{
    *input = (struct input){.is_terminal = is_terminal, .is_open = true, .at_line_start = true};
}

static bool has_room(const struct input *input)
{
    /* a tilde that was held back may come too */
    return input->len + INPUT_MAX + 1 <= sizeof(input->held);
}

bool input_wanted(struct input *input, int *timeout_ms)
{
    *timeout_ms = -1;
    if (!input->is_open || has_room(input)) {
        input->stuck_since_ns = 0;
        return input->is_open;
    }
    if (!input->is_terminal)
        return false;
    uint64_t now = clock_now_ns();
    if (!input->stuck_since_ns)
        input->stuck_since_ns = now;
    if (now - input->stuck_since_ns >= PATIENCE_NS)
        return true;
    *timeout_ms = (int)((input->stuck_since_ns + PATIENCE_NS - now) / 1000000) + 1;
    return false;
}

size_t input_unescape(struct input *input, const uint8_t *bytes, size_t len, uint8_t *ret_bytes,
                      bool *ret_ended)
{
    size_t left = 0;
    *ret_ended = false;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = bytes[i];
        if (input->after_tilde && byte == '.') {
            *ret_ended = true;
            return left;
        }
        bool is_escape = input->at_line_start && byte == '~' && !input->after_tilde;
        if (input->after_tilde && byte != '~')
            ret_bytes[left++] = '~';
        input->after_tilde = is_escape;
        input->at_line_start = is_escape || byte == '\r' || byte == '\n';
        if (!is_escape)
            ret_bytes[left++] = byte;
    }
    return left;
}

static void add(struct input *input, const uint8_t *bytes, size_t len)
{
    if (len > sizeof(input->held) - input->len)
        len = sizeof(input->held) - input->len;
    memcpy(input->held + input->len, bytes, len);
    input->len += len;
}

bool input_read(struct input *input)
{
    uint8_t bytes[INPUT_MAX], meant[INPUT_MAX + 1];
    bool ended = false;
    ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return false;
    if (got <= 0) {
        input->is_open = false;
        if (input->after_tilde)
            add(input, (const uint8_t *)"~", 1);
        return false;
    }
    if (!input->is_terminal) {
        add(input, bytes, (size_t)got);
        return false;
    }
    add(input, meant, input_unescape(input, bytes, (size_t)got, meant, &ended));
    return ended;
}

size_t input_take(struct input *input, void *ret_bytes, size_t size, bool *ret_end)
{
    size_t len = input->len < size ? input->len : size;
    memcpy(ret_bytes, input->held, len);
    input->len -= len;
    memmove(input->held, input->held + len, input->len);
    *ret_end = len == 0 && !input->is_open;
    return len;
}

void input_close(struct input *input)
{
    /* The descriptor stays taken, so that no other file gets its number. */
    AUTO_FD opened = input->nothing ? -1 : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (input->nothing || opened >= 0)
        dup2(input->nothing ? input->nothing : opened, STDIN_FILENO);
    input->is_open = false;
    input->len = 0;
}
