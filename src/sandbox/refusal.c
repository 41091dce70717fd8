// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* A signal handler gets no argument of ours. */
static struct {
    const struct policy *policy;
    const char *program;
} refusal;

/* A text that is put together without stdio, which a handler may not call. */
struct text {
    char bytes[256];
    size_t len;
};

static void put(struct text *text, const char *part)
{
    while (*part && text->len < sizeof(text->bytes))
        text->bytes[text->len++] = *part++;
}

static void put_number(struct text *text, unsigned number)
{
    char digits[12];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    put(text, digits + at);
}

/* The line may stand in front of a pipe that nobody reads: it is written if there is room. */
static void tell(int call)
{
    struct text text = {.len = 0};
    const char *name = refusal.policy ? policy_call_name(refusal.policy, call) : NULL;
    put(&text, refusal.program);
    put(&text, ": cell: refused the system call '");
    put(&text, name ? name : "?");
    put(&text, "' (number ");
    put_number(&text, (unsigned)call);
    put(&text, "), which no line of the policy allows; if the program needs it, add the line '");
    put(&text, name ? name : "?");
    put(&text, "' to a file and give --cell-policy=FILE\n");
    int flags = fcntl(STDERR_FILENO, F_GETFL);
    if (flags >= 0)
        fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
    if (write(STDERR_FILENO, text.bytes, text.len) < 0) { /* there is nobody left to tell */
    }
}

/* There is no way back: REFUSAL_END is what the policy kills for, whatever the process has done to
 * its memory or to this handler. */
static void on_refused(int number, siginfo_t *info, void *context)
{
    tell(info->si_syscall);
    for (;;)
        syscall(REFUSAL_END, 0, 0, 0, 0);
}

int refusal_prepare(const struct policy *policy, const char *program)
{
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_RESTART};
    refusal.policy = policy;
    refusal.program = program;
    sigfillset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}
