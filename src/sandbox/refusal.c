// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* Room for the handler and the kernel's frame, which holds the vector registers. */
#define STACK_LEN 16384

#define SYS_MSEAL 462 /* Linux 6.10 */

#define ARGUMENTS 3 /* that a policy looks at, and a line names */

/* A signal handler gets no argument of ours. The thread that loads the policy serves the peer, and
 * has a stack for it: a refusal is named also if its own one is full. */
static struct {
    const struct policy *policy;
    const char *program;
    char stack[STACK_LEN];
} refusal;

/* A text that is put together without stdio, which a handler may not call. */
struct text {
    char bytes[320];
    size_t len;
};

static void put(struct text *text, const char *part)
{
    while (*part && text->len < sizeof(text->bytes))
        text->bytes[text->len++] = *part++;
}

static void put_number(struct text *text, uint64_t number, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do
        digits[--at] = "0123456789abcdef"[number % base];
    while ((number /= base) > 0);
    put(text, digits + at);
}

/* The first arguments of the call: a policy may allow it with others. */
static void put_arguments(struct text *text, const ucontext_t *context)
{
#ifdef __x86_64__
    static const int registers[ARGUMENTS] = {REG_RDI, REG_RSI, REG_RDX};
    for (unsigned i = 0; i < ARGUMENTS; i++) {
        put(text, i == 0 ? ", arguments 0x" : " 0x");
        put_number(text, (uint64_t)context->uc_mcontext.gregs[registers[i]], 16);
    }
#endif
}

/* Without the C library, whose table of functions can be written to. errno is of no use any more. */
static long call_kernel(long number, long first, long second, long third)
{
#ifdef __x86_64__
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third)
                     : "rcx", "r11", "memory");
    return result;
#else
    return syscall(number, first, second, third);
#endif
}

/* The line may stand in front of a pipe that nobody reads: it is written if there is room. */
static void tell(int call, const ucontext_t *context)
{
    struct text text = {.len = 0};
    const char *name = refusal.policy ? policy_call_name(refusal.policy, call) : NULL;
    put(&text, refusal.program);
    put(&text, ": cell: refused the system call '");
    put(&text, name ? name : "?");
    put(&text, "' (number ");
    put_number(&text, (unsigned)call, 10);
    put_arguments(&text, context);
    put(&text, "), which no line of the policy allows; if the program needs it, add the line '");
    put(&text, name ? name : "?");
    put(&text, "' to a file and give --cell-policy=FILE\n");
    long flags = call_kernel(SYS_fcntl, STDERR_FILENO, F_GETFL, 0);
    if (flags >= 0)
        call_kernel(SYS_fcntl, STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
    call_kernel(SYS_write, STDERR_FILENO, (long)text.bytes, (long)text.len);
}

/* There is no way back: the policy kills for REFUSAL_END. A fault in here ends the process
 * too, since all signals are blocked. */
static void on_refused(int number, siginfo_t *info, void *context)
{
    tell(info->si_syscall, context);
    for (;;)
        call_kernel(REFUSAL_END, 0, 0, 0);
}

/* The pages of this file's program or library that can be executed. */
static int seal_if_ours(struct dl_phdr_info *info, size_t size, void *unused)
{
    const uintptr_t ours = (uintptr_t)on_refused, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + part->p_vaddr, end = start + part->p_memsz;
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) || ours < start || ours >= end)
            continue;
        start &= ~(page - 1);
        syscall(SYS_MSEAL, start, (end - start + page - 1) & ~(page - 1), 0);
        return 1;
    }
    return 0;
}

/* From Linux 6.10 on, nothing else can be put in the place of the handler: its pages can't be unmapped,
 * replaced, moved or made writable any more. An earlier kernel has no such call. */
static void seal_code(void)
{
    dl_iterate_phdr(seal_if_ours, NULL);
}

int refusal_prepare(const struct policy *policy, const char *program)
{
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const stack_t stack = {.ss_sp = refusal.stack, .ss_size = sizeof(refusal.stack)};
    refusal.policy = policy;
    refusal.program = program;
    seal_code();
    sigfillset(&action.sa_mask);
    return sigaltstack(&stack, NULL) < 0 || sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}
