// SPDX-License-Identifier: BSD-3-Clause
/*
 * A line is composed, counted against the bucket of its kind, made printable and given to the sink.
 * `pending_ns` says when something is to be told that no line of a program will tell; the loop
 * looks at it in each round, so that is all that a quiet log costs.
 */
#include "os/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/printable.h"
#include "os/clock.h"
#include "os/log_kinds.h"
#include "os/log_sink.h"
#include "os/standard_fds.h"

#define NS_PER_S 1000000000ull

/* Composed, and with its prefix as it is written: both fit a pipe as one write (PIPE_BUF). */
#define TEXT_LEN 1024
#define LINE_LEN 2048

/* How long a line waits for room before log_never_wait(), and when dropped lines are told if no
 * line comes by itself. */
#define PATIENCE_MS   1000
#define TELL_DROPS_NS (5 * NS_PER_S)

/* A person reads a few lines of a kind at once and some in a minute. */
static const struct log_rate line_rate = {.burst = 32, .refill_ns = 5 * NS_PER_S};
static const struct log_rate verbose_rate = {.burst = 256, .refill_ns = NS_PER_S / 16};

/* A reader that has gone; a log or a disk that reaches its limit. EPIPE and EFBIG tell too. */
static const int ignored_signals[] = {SIGPIPE, SIGXFSZ};

#define IGNORED_SIGNALS (sizeof(ignored_signals) / sizeof(ignored_signals[0]))

static struct {
    pthread_mutex_t lock;
    const char *program; /* NULL: as it was started */
    bool open;
    bool verbose;
    bool ignored[IGNORED_SIGNALS]; /* by log_start() */
    bool at_exit;                  /* log_flush() is registered */
    int wait_ms;
    struct log_sink sink;
    struct log_kinds kinds;
    uint64_t dropped;
    uint64_t tell_drops_ns;
    bool holds;
    char held[LIMIT_LOG_HELD]; /* whole lines */
    size_t held_len;
    _Atomic uint64_t pending_ns;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .pending_ns = UINT64_MAX};

static int hold_line(const char *line, size_t len)
{
    if (len > sizeof(state.held) - state.held_len)
        return -ENOSPC;
    memcpy(state.held + state.held_len, line, len);
    state.held_len += len;
    return 0;
}

static int write_text(const char *text)
{
    char line[LINE_LEN];
    int len = snprintf(line, sizeof(line) / 2, "%s: ", log_program());
    if (len < 0 || (size_t)len >= sizeof(line) / 2)
        len = 0;
    size_t used = (size_t)len;
    used += printable_copy(line + used, sizeof(line) - 1 - used, text, strlen(text));
    line[used++] = '\n';
    if (state.holds)
        return hold_line(line, used);
    int err = log_sink_write(&state.sink, line, used, state.wait_ms);
    if (err < 0)
        state.wait_ms = 0;
    return err;
}

static void drop(void)
{
    if (state.dropped++ == 0)
        state.tell_drops_ns = clock_now_ns() + TELL_DROPS_NS;
}

/* Whether nothing remains to be told. */
static bool tell_drops(void)
{
    char text[64];
    if (state.dropped == 0)
        return true;
    if (state.holds)
        return false;
    snprintf(text, sizeof(text), "... %" PRIu64 " line%s dropped", state.dropped,
             state.dropped == 1 ? "" : "s");
    if (write_text(text) < 0) {
        state.tell_drops_ns = clock_now_ns() + TELL_DROPS_NS;
        return false;
    }
    state.dropped = 0;
    return true;
}

static void emit(const char *text)
{
    if (!tell_drops() || write_text(text) < 0)
        drop();
}

static void emit_summary(struct log_kind *kind)
{
    char text[LOG_SAMPLE_LEN + 64];
    log_kind_summary(kind, text, sizeof(text));
    emit(text);
}

/* Sets when log_tick() has something to do. */
static void plan(void)
{
    uint64_t at = state.dropped ? state.tell_drops_ns : UINT64_MAX;
    for (size_t i = 0; i < LIMIT_LOG_KINDS; i++) {
        uint64_t due = log_kind_due(&state.kinds.kind[i]);
        if (due < at)
            at = due;
    }
    atomic_store_explicit(&state.pending_ns, at, memory_order_relaxed);
}

static void open_sink(void)
{
    if (state.open)
        return;
    log_sink_init(&state.sink, STDERR_FILENO);
    state.open = true;
}

void log_prepare(void)
{
    pthread_mutex_lock(&state.lock);
    open_sink();
    log_sink_settle(&state.sink);
    pthread_mutex_unlock(&state.lock);
}

static void print(const char *format, struct log_rate rate, const char *text)
{
    struct log_kind forgotten;
    uint64_t now = clock_now_ns();
    pthread_mutex_lock(&state.lock);
    open_sink();
    struct log_kind *kind = log_kinds_find(&state.kinds, format, rate, now, &forgotten);
    if (forgotten.skipped)
        emit_summary(&forgotten);
    if (log_kind_take(kind, rate, now, text)) {
        if (kind->skipped)
            emit_summary(kind);
        emit(text);
    }
    plan();
    pthread_mutex_unlock(&state.lock);
}

static __attribute__((format(printf, 1, 0))) void print_args(const char *format,
                                                             struct log_rate rate, va_list args)
{
    char text[TEXT_LEN];
    int len = vsnprintf(text, sizeof(text), format, args);
    if (len > 0 && (size_t)len < sizeof(text) && text[len - 1] == '\n')
        text[len - 1] = '\0';
    print(format, rate, text);
}

void log_line(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_args(format, line_rate, args);
    va_end(args);
}

void log_line_args(const char *format, va_list args)
{
    print_args(format, line_rate, args);
}

void log_line_of(const char *kind, const char *text)
{
    print(kind, line_rate, text);
}

void log_verbose(const char *format, ...)
{
    va_list args;
    if (!state.verbose)
        return;
    va_start(args, format);
    print_args(format, verbose_rate, args);
    va_end(args);
}

void log_set_verbose(bool verbose)
{
    state.verbose = verbose;
}

static bool is_same_stream(int a, int b)
{
    struct stat first, second;
    return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino && (S_ISSOCK(first.st_mode) || S_ISFIFO(first.st_mode));
}

void log_keep_off(int fd)
{
    if (!is_same_stream(fd, STDERR_FILENO))
        return;
    pthread_mutex_lock(&state.lock);
    if (state.open)
        log_sink_done(&state.sink);
    state.open = true;
    pthread_mutex_unlock(&state.lock);
}

static void write_held(void)
{
    for (size_t at = 0; at < state.held_len;) {
        const char *line = state.held + at;
        size_t len = (size_t)((const char *)memchr(line, '\n', state.held_len - at) + 1 - line);
        if (log_sink_write(&state.sink, line, len, state.wait_ms) < 0)
            drop();
        at += len;
    }
    state.held_len = 0;
}

void log_hold(bool hold)
{
    pthread_mutex_lock(&state.lock);
    open_sink();
    state.holds = hold;
    if (!hold) {
        write_held();
        tell_drops();
    }
    plan();
    pthread_mutex_unlock(&state.lock);
}

void log_never_wait(void)
{
    state.wait_ms = 0;
}

static void tell_pending(uint64_t until_ns)
{
    pthread_mutex_lock(&state.lock);
    for (size_t i = 0; i < LIMIT_LOG_KINDS; i++) {
        struct log_kind *kind = &state.kinds.kind[i];
        if (log_kind_due(kind) > until_ns)
            continue;
        kind->refilled_ns += kind->refill_ns; /* the summary is one of its lines */
        emit_summary(kind);
    }
    if (state.dropped && state.tell_drops_ns <= until_ns)
        tell_drops();
    plan();
    pthread_mutex_unlock(&state.lock);
}

uint64_t log_tick(void)
{
    uint64_t at = atomic_load_explicit(&state.pending_ns, memory_order_relaxed);
    if (at == UINT64_MAX)
        return at;
    uint64_t now = clock_now_ns();
    if (at > now)
        return at;
    tell_pending(now);
    return atomic_load_explicit(&state.pending_ns, memory_order_relaxed);
}

void log_flush(void)
{
    if (atomic_load_explicit(&state.pending_ns, memory_order_relaxed) != UINT64_MAX)
        tell_pending(UINT64_MAX - 1);
}

/* A handler of the program's own stays. */
static void ignore_signal(size_t index)
{
    struct sigaction action;
    if (sigaction(ignored_signals[index], NULL, &action) < 0 || action.sa_handler != SIG_DFL)
        return;
    signal(ignored_signals[index], SIG_IGN);
    state.ignored[index] = true;
}

void log_give_back_signals(void)
{
    for (size_t i = 0; i < IGNORED_SIGNALS; i++) {
        if (state.ignored[i])
            signal(ignored_signals[i], SIG_DFL);
        state.ignored[i] = false;
    }
}

int log_start(const char *program)
{
    int err = standard_fds_open();
    if (err < 0)
        return err;
    for (size_t i = 0; i < IGNORED_SIGNALS; i++)
        ignore_signal(i);
    pthread_mutex_lock(&state.lock);
    state.program = program;
    state.wait_ms = PATIENCE_MS;
    open_sink();
    bool registered = state.at_exit;
    state.at_exit = true;
    pthread_mutex_unlock(&state.lock);
    return registered || atexit(log_flush) == 0 ? 0 : -ENOMEM;
}

const char *log_program(void)
{
    return state.program ? state.program : program_invocation_short_name;
}

void log_end(void)
{
    pthread_mutex_lock(&state.lock);
    if (state.open)
        log_sink_done(&state.sink);
    memset(&state.kinds, 0, sizeof(state.kinds));
    state.open = false;
    state.program = NULL;
    state.dropped = 0;
    state.wait_ms = 0;
    plan();
    pthread_mutex_unlock(&state.lock);
}
