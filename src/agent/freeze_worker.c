// SPDX-License-Identifier: BSD-3-Clause
#include "agent/freeze_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/helper.h"
#include "agent/mounts.h"
#include "agent/worker.h"
#include "base/auto.h"
#include "os/clock.h"

#define NS_PER_MS 1000000u

struct hold {
    int *fds; /* of the file systems that are frozen */
    size_t count;
};

static bool is_meant(const struct freeze_order *order, const char *place)
{
    for (const struct json *at = order->places; at; at = at->next) {
        if (json_is_text(at, place))
            return true;
    }
    return !order->is_list;
}

/* 0, -EALREADY: nothing is to be frozen there; or a negative errno. */
static int freeze_one(struct hold *hold, const char *place)
{
    AUTO_FD fd = open(place, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    /* Frozen already, by another mount of it or by somebody else; or it can't be. */
    if (ioctl(fd, FIFREEZE, 0) < 0)
        return errno == EBUSY || errno == EOPNOTSUPP ? -EALREADY : -errno;
    hold->fds[hold->count++] = take_fd(&fd);
    return 0;
}

static unsigned thaw(struct hold *hold)
{
    unsigned count = 0;
    for (size_t i = hold->count; i-- > 0;) {
        count += ioctl(hold->fds[i], FITHAW, 0) == 0;
        close(hold->fds[i]);
    }
    hold->count = 0;
    return count;
}

static bool is_over(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, 0) > 0;
}

/* The newest mounts first, since they may lie in files on older ones. */
static int freeze_all(int fd, const struct freeze_order *order, const struct mounts *mounts,
                      struct hold *hold, struct job *job)
{
    for (size_t i = mounts->count; i-- > 0;) {
        const char *place = mounts->mount[i].place;
        if (is_over(fd)) /* the agent has given us up, or was told to thaw */
            return job_fail(job, "the file systems were thawed before all were frozen");
        if (!is_meant(order, place))
            continue;
        int err = freeze_one(hold, place);
        if (err < 0 && err != -EALREADY)
            return job_fail(job, "failed to freeze %.300s: %s", place, strerror(-err));
    }
    return 0;
}

static void make_note(const char *note)
{
    int fd = open(note, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

static int run_hook(const struct freeze_order *order, const char *word, struct job *job)
{
    if (!order->hook || access(order->hook, X_OK) < 0)
        return 0;
    int status = helper_run_silent(order->hook, word);
    if (status < 0)
        return job_fail(job, "the hook %.200s %s: %s", order->hook, word, strerror(-status));
    if (status != 0)
        return job_fail(job, "the hook %.200s %s has failed with status %d", order->hook, word,
                        status);
    return 0;
}

static int timeout_ms(uint64_t until_ns)
{
    uint64_t now = clock_now_ns();
    if (until_ns == 0)
        return -1;
    return until_ns <= now ? 0 : (int)((until_ns - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* Waits for a reason to thaw: NULL, the agent asks; or one that ends the freeze by itself. */
static const char *wait_for_end(int fd, uint64_t until_ns)
{
    size_t len;
    char *text = worker_hear(fd, timeout_ms(until_ns), &len);
    if (text) {
        free(text);
        return NULL;
    }
    return len == 1 ? "its time is over" : "the agent has ended";
}

static int say_count(int fd, unsigned count)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%u", count);
    return worker_say(fd, WORKER_RETURNS, text, (size_t)len);
}

static int hold_frozen(int fd, const struct freeze_order *order, struct hold *hold,
                       uint64_t until_ns)
{
    struct job job = {0};
    char others[100];
    unsigned frozen = (unsigned)hold->count;
    say_count(fd, frozen);
    const char *why = wait_for_end(fd, until_ns);
    unsigned count = thaw(hold);
    unlink(order->note);
    if (!why && count < frozen) {
        snprintf(others, sizeof(others), "somebody else has thawed %u of %u", frozen - count,
                 frozen);
        why = others;
    }
    int err = run_hook(order, "thaw", &job);
    if (why)
        return worker_say(fd, WORKER_NOTES, why, strlen(why));
    return err < 0 ? worker_say(fd, WORKER_FAILS, job.error, strlen(job.error))
                   : say_count(fd, count);
}

int freeze_work(int fd, const void *context)
{
    const struct freeze_order *order = context;
    struct mounts mounts = {0};
    struct hold hold = {0};
    struct job job = {0};
    uint64_t until_ns = order->timeout_s ? clock_now_ns() + order->timeout_s * 1000000000ull : 0;
    int err = run_hook(order, "freeze", &job);
    bool hooked = err == 0;
    if (err == 0 &&
        (mounts_read(&mounts) < 0 || !(hold.fds = calloc(mounts.count + 1, sizeof(*hold.fds)))))
        err = job_fail(&job, "can't read the list of mounts");
    if (err == 0) {
        make_note(order->note);
        err = freeze_all(fd, order, &mounts, &hold, &job);
    }
    if (err == 0) {
        err = hold_frozen(fd, order, &hold, until_ns);
    } else {
        struct job ignored = {0};
        thaw(&hold);
        unlink(order->note);
        if (hooked)
            run_hook(order, "thaw", &ignored);
        worker_say(fd, WORKER_FAILS, job.error, strlen(job.error));
    }
    free(hold.fds);
    mounts_done(&mounts);
    return err < 0;
}

/* If a file system is not frozen, FITHAW returns EINVAL, which is ignored. */
static void thaw_one(const char *place)
{
    AUTO_FD fd = open(place, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        ioctl(fd, FITHAW, 0);
}

/* Whether an earlier mount is of the same file system. */
static bool is_known(const struct mounts *mounts, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (mounts->mount[i].major == mounts->mount[index].major &&
            mounts->mount[i].minor == mounts->mount[index].minor)
            return true;
    }
    return false;
}

/* Each in a process of its own: one that hangs must not keep the others frozen. */
static int thaw_all(int fd, const void *context)
{
    struct mounts mounts;
    if (mounts_read(&mounts) < 0)
        return 1;
    for (size_t i = 0; i < mounts.count; i++) {
        pid_t pid = is_known(&mounts, i) ? -1 : fork();
        if (pid == 0) {
            thaw_one(mounts.mount[i].place);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        ;
    unlink(context);
    mounts_done(&mounts);
    return 0;
}

void freeze_thaw_all(const struct agent_config *config, const char *note)
{
    struct child *child;
    AUTO_FD fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd >= 0 && child_fork(config->children, fd, thaw_all, note, &child) == 0)
        child_forget(child);
}
