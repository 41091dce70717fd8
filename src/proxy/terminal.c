// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>

/* Once the terminal is as it was, a byte of the peer may be a key that ends or stops us,
 * before we have ended by ourselves. INT is taken as always. */
static void heed_no_keys(void)
{
    sigset_t keys;
    sigemptyset(&keys);
    sigaddset(&keys, SIGQUIT);
    sigaddset(&keys, SIGTSTP);
    sigprocmask(SIG_BLOCK, &keys, NULL);
}

int terminal_remember(int fd, struct terminal *ret_before)
{
    struct terminal before = {.has_settings = true};
    if (tcgetattr(fd, &before.settings) < 0)
        return -errno;
    heed_no_keys();
    *ret_before = before;
    return 0;
}

int terminal_prepare(int fd, struct terminal *ret_before)
{
    struct terminal before = {0};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (terminal_remember(fd, &before) == 0) {
        struct termios raw = before.settings;
        cfmakeraw(&raw);
        raw.c_cflag |= CLOCAL | CREAD;
        if (tcsetattr(fd, TCSANOW, &raw) < 0)
            return -errno;
    }
    before.has_flags = true;
    before.flags = flags;
    *ret_before = before;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* From the background, too, where SIGTTOU would stop us. */
static void set_settings(int fd, const struct termios *settings)
{
    sigset_t stop, before;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTTOU);
    sigprocmask(SIG_BLOCK, &stop, &before);
    tcsetattr(fd, TCSANOW, settings);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

void terminal_put_back(int fd, struct terminal *before)
{
    if (before->has_settings)
        set_settings(fd, &before->settings);
    if (before->has_flags)
        fcntl(fd, F_SETFL, before->flags);
    *before = (struct terminal){0};
}
