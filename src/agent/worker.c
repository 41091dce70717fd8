// SPDX-License-Identifier: BSD-3-Clause
#include "agent/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/call.h"
#include "base/auto.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "os/clock.h"

#define HEADER_LEN 5
#define READ_LEN   65536
#define IN_MAX                                                                                     \
    (LIMIT_AGENT_ANSWER + HEADER_LEN + READ_LEN) /* the longest frame, and room to read */
#define NS_PER_S 1000000000u

struct worker {
    struct timers *timers;
    struct timer limit;
    struct loop_source *source;
    struct child *child; /* NULL: it ended */
    int fd;
    worker_fn says;
    void *argument;
    char *in; /* of the next frame so far */
    size_t in_len, in_size;
    char *out; /* bytes that the socket has not taken yet */
    size_t out_at, out_len;
    bool is_telling; /* its owner is called */
    bool is_over;    /* the owner has freed it meanwhile */
};

static void put_header(uint8_t header[HEADER_LEN], enum worker_word word, size_t len)
{
    struct wr wr = wr_init(header, HEADER_LEN);
    wr_u8(&wr, (uint8_t)word);
    wr_u32(&wr, (uint32_t)len);
}

static size_t frame_len(const char *frame)
{
    struct rd rd = rd_init(frame, HEADER_LEN);
    rd_skip(&rd, 1);
    return HEADER_LEN + rd_u32(&rd);
}

/* Tells the owner, who may free the worker; the text stays until it has returned. Returns whether
 * the worker is still there. */
static bool tell(struct worker *worker, enum worker_word word, const char *text, size_t len)
{
    worker->is_telling = true;
    worker->says(worker->argument, word, text, len);
    worker->is_telling = false;
    if (!worker->is_over)
        return true;
    free(worker->in);
    free(worker);
    return false;
}

static void on_limit(void *argument)
{
    tell(argument, WORKER_LATE, "", 0);
}

static void on_exit_status(void *argument, int status)
{
    struct worker *worker = argument;
    worker->child = NULL; /* its last words may still lie in the socket, which tells its end */
}

/* Tells all frames that are there. Returns whether the worker is still there. */
static bool take_frames(struct worker *worker)
{
    size_t at = 0;
    while (worker->in_len - at >= HEADER_LEN) {
        const char *frame = worker->in + at;
        size_t len = frame_len(frame);
        if (worker->in_len - at < len)
            break;
        if (*frame != WORKER_NOTES)
            timer_cancel(&worker->limit);
        if (!tell(worker, (enum worker_word) * frame, frame + HEADER_LEN, len - HEADER_LEN))
            return false;
        at += len;
    }
    memmove(worker->in, worker->in + at, worker->in_len - at);
    worker->in_len -= at;
    return true;
}

static bool make_room(struct worker *worker)
{
    if (worker->in_size - worker->in_len >= READ_LEN)
        return true;
    size_t size = 2 * worker->in_size + READ_LEN;
    if (size > IN_MAX)
        size = IN_MAX;
    char *grown = size - worker->in_len >= READ_LEN ? realloc(worker->in, size) : NULL;
    if (!grown)
        return false;
    worker->in = grown;
    worker->in_size = size;
    return true;
}

static void on_readable(struct worker *worker)
{
    ssize_t got = -1;
    errno = ENOMEM;
    if (make_room(worker))
        got = read(worker->fd, worker->in + worker->in_len, worker->in_size - worker->in_len);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got > 0) {
        worker->in_len += (size_t)got;
        take_frames(worker);
        return;
    }
    tell(worker, WORKER_GONE, "", 0);
}

static void flush(struct worker *worker)
{
    while (worker->out_at < worker->out_len) {
        ssize_t put =
            write(worker->fd, worker->out + worker->out_at, worker->out_len - worker->out_at);
        if (put < 0)
            break; /* EAGAIN; or it ended, and reading tells */
        worker->out_at += (size_t)put;
    }
    bool is_done = worker->out_at == worker->out_len;
    if (is_done) {
        free(take_ptr(&worker->out));
        worker->out_at = worker->out_len = 0;
    }
    loop_change(worker->source, EPOLLIN | (is_done ? 0 : EPOLLOUT));
}

static void on_event(void *argument, uint32_t events)
{
    struct worker *worker = argument;
    if (events & EPOLLOUT)
        flush(worker);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_readable(worker);
}

int worker_start(const struct agent_config *config, int (*work)(int fd, const void *context),
                 const void *context, worker_fn says, void *argument, struct worker **ret_worker)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    AUTO_FD ours = ends[0];
    AUTO_FD theirs = ends[1];
    AUTO_FREE struct worker *worker = calloc(1, sizeof(*worker));
    if (!worker)
        return -ENOMEM;
    int err = child_fork(config->children, theirs, work, context, &worker->child);
    if (err < 0)
        return err;
    child_watch(worker->child, on_exit_status, worker);
    fcntl(ours, F_SETFL, O_NONBLOCK);
    timer_init(&worker->limit, on_limit, worker);
    worker->timers = config->timers;
    worker->says = says;
    worker->argument = argument;
    worker->fd = ours;
    err = loop_add(config->loop, ours, EPOLLIN, on_event, worker, &worker->source);
    if (err < 0) {
        child_signal(worker->child, SIGKILL);
        child_forget(worker->child);
        return err;
    }
    take_fd(&ours);
    *ret_worker = take_ptr(&worker);
    return 0;
}

void worker_release(struct worker *worker)
{
    if (!worker)
        return;
    child_forget(worker->child);
    timer_cancel(&worker->limit);
    loop_remove(worker->source);
    close(worker->fd);
    free(worker->out);
    worker->is_over = true;
    if (worker->is_telling) /* the text that is told lies in it */
        return;
    free(worker->in);
    free(worker);
}

void worker_free(struct worker *worker)
{
    if (worker && worker->child)
        child_signal(worker->child, SIGKILL);
    worker_release(worker);
}

void worker_expect(struct worker *worker, unsigned limit_s)
{
    timer_set(worker->timers, &worker->limit, clock_now_ns() + (uint64_t)limit_s * NS_PER_S);
}

int worker_ask(struct worker *worker, const char *text, size_t len, unsigned limit_s)
{
    uint8_t header[HEADER_LEN];
    char *grown = realloc(worker->out, worker->out_len + HEADER_LEN + len);
    if (!grown)
        return -ENOMEM;
    put_header(header, WORKER_ASKS, len);
    worker->out = grown;
    memcpy(grown + worker->out_len, header, HEADER_LEN);
    memcpy(grown + worker->out_len + HEADER_LEN, text, len);
    worker->out_len += HEADER_LEN + len;
    worker_expect(worker, limit_s);
    flush(worker);
    return 0;
}

static int write_all(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t put = write(fd, at, len);
        if (put < 0 && errno != EINTR)
            return -errno;
        if (put > 0) {
            at += put;
            len -= (size_t)put;
        }
    }
    return 0;
}

int worker_say(int fd, enum worker_word word, const void *text, size_t len)
{
    uint8_t header[HEADER_LEN];
    put_header(header, word, len);
    int err = write_all(fd, header, sizeof(header));
    return err < 0 ? err : write_all(fd, text, len);
}

static int read_all(int fd, void *bytes, size_t len)
{
    char *at = bytes;
    while (len > 0) {
        ssize_t got = read(fd, at, len);
        if (got == 0 || (got < 0 && errno != EINTR))
            return -ENOTCONN;
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
    return 0;
}

char *worker_hear(int fd, int timeout_ms, size_t *ret_len)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    char header[HEADER_LEN];
    *ret_len = 1;
    if (poll(&ready, 1, timeout_ms) == 0)
        return NULL;
    *ret_len = 0;
    if (read_all(fd, header, sizeof(header)) < 0)
        return NULL;
    size_t len = frame_len(header) - HEADER_LEN;
    char *text = malloc(len + 1);
    if (!text || read_all(fd, text, len) < 0) {
        free(text);
        return NULL;
    }
    text[len] = '\0';
    *ret_len = len;
    return text;
}

int worker_say_job(int fd, struct job *job, int err)
{
    if (err == 0 && json_out_done(&job->out) < 0)
        err = job_fail(job, "the answer is too long: it may have %u bytes", LIMIT_AGENT_ANSWER);
    int result = err < 0 ? worker_say(fd, WORKER_FAILS, job->error, strlen(job->error))
                         : worker_say(fd, WORKER_RETURNS, job->out.bytes, job->out.len);
    json_out_free(&job->out);
    return result;
}

/* One command. */
struct task {
    struct worker *worker;
    struct call *call;
    job_fn run;
    unsigned limit_s;
};

static int work(int fd, const void *context)
{
    const struct task *task = context;
    struct job job = {.arguments = task->call->arguments};
    json_out_init(&job.out, LIMIT_AGENT_ANSWER);
    return worker_say_job(fd, &job, task->run(&job)) < 0;
}

static void on_word(void *argument, enum worker_word word, const char *text, size_t len)
{
    struct task *task = argument;
    struct call *call = task->call;
    if (word == WORKER_RETURNS)
        call_return(call, text, len);
    else if (word == WORKER_FAILS)
        call_fail_text(call, QMP_GENERIC, text, len);
    else if (word == WORKER_LATE)
        call_fail(call, "the command was not done within %u s", task->limit_s);
    else
        call_fail(call, "the process that carried out the command has ended");
    worker_free(task->worker);
    free(task);
}

void worker_run(const struct agent_config *config, job_fn run, unsigned limit_s, struct call *call)
{
    struct task *task = malloc(sizeof(*task));
    if (!task) {
        call_fail(call, "out of memory");
        return;
    }
    *task = (struct task){.call = call, .run = run, .limit_s = limit_s};
    int err = worker_start(config, work, task, on_word, task, &task->worker);
    if (err < 0) {
        call_fail(call, "can't start a process: %s", strerror(-err));
        free(task);
        return;
    }
    worker_expect(task->worker, limit_s);
}
