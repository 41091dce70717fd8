// SPDX-License-Identifier: BSD-3-Clause
#include "os/input.h"

#include <errno.h>

#include "os/socket.h"

bool input_fill(struct input *input, int fd)
{
    if (input->at < input->len)
        return true;
    if (input->ended)
        return false;
    ssize_t got = socket_read(fd, input->bytes, sizeof(input->bytes));
    input->at = 0;
    input->len = got > 0 ? (size_t)got : 0;
    input->ended = got == 0;
    input->failed |= got < 0 && errno != EAGAIN;
    return got > 0;
}
