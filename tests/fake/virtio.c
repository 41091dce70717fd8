// SPDX-License-Identifier: BSD-3-Clause
#include "fake/virtio.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/watch.h>

#define QUEUES    1024
#define TIMERS    4
#define ROUND_MAX 64
#define POLLS_MAX 1000
#define START_NS  UINT64_C(1000000000000)

struct fake_queue {
    struct fake_chain *available, *completed;
    unsigned outstanding, taken, share;
    bool kicked;
};

struct ob_timer {
    ob_timer_fn due;
    void *argument;
    uint64_t at_ns;
};

static struct {
    struct ob_virtio_ops ops;
    struct ob_virtio_desc desc;
    void *state;
    struct fake_queue queues[QUEUES];
    struct ob_timer timers[TIMERS];
    unsigned num_timers;
    uint64_t now_ns;
    bool stopped, paused;
} fake;

/* Only its address is used. */
static char device;

static void append(struct fake_chain **list, struct fake_chain *chain)
{
    while (*list)
        list = &(*list)->next;
    chain->next = NULL;
    *list = chain;
}

void fake_virtio_start(void)
{
    memset(&fake, 0, sizeof(fake));
    fake.now_ns = START_NS;
}

void fake_virtio_free(struct fake_chain *chain)
{
    free(chain->bytes);
    free(chain);
}

static void free_list(struct fake_chain **list)
{
    while (*list) {
        struct fake_chain *chain = *list;
        *list = chain->next;
        fake_virtio_free(chain);
    }
}

void fake_virtio_end(void)
{
    for (unsigned i = 0; i < fake.desc.num_queues; i++) {
        free_list(&fake.queues[i].available);
        free_list(&fake.queues[i].completed);
    }
}

static void add(unsigned queue, const void *bytes, size_t len, bool writable)
{
    struct fake_chain *chain = calloc(1, sizeof(*chain));
    if (!chain)
        abort();
    chain->bytes = calloc(1, len + 1);
    if (!chain->bytes)
        abort();
    if (bytes)
        memcpy(chain->bytes, bytes, len);
    chain->span = (struct ob_dma_span){.address = chain->bytes, .len = len};
    chain->chain.queue = queue;
    if (writable) {
        chain->chain.writable = &chain->span;
        chain->chain.num_writable = 1;
        chain->chain.writable_len = len;
    } else {
        chain->chain.readable = &chain->span;
        chain->chain.num_readable = 1;
        chain->chain.readable_len = len;
    }
    append(&fake.queues[queue].available, chain);
    fake.queues[queue].outstanding++;
    fake.queues[queue].kicked = true;
}

void fake_virtio_add_readable(unsigned queue, const void *bytes, size_t len)
{
    add(queue, bytes, len, false);
}

void fake_virtio_add_writable(unsigned queue, size_t len)
{
    add(queue, NULL, len, true);
}

unsigned fake_virtio_outstanding(unsigned queue)
{
    return fake.queues[queue].outstanding;
}

struct fake_chain *fake_virtio_completed(unsigned queue)
{
    struct fake_chain *chain = fake.queues[queue].completed;
    if (chain)
        fake.queues[queue].completed = chain->next;
    return chain;
}

void fake_virtio_notify(unsigned queue)
{
    fake.queues[queue].kicked = fake.ops.notified(fake.state, queue);
}

void fake_virtio_poll(void)
{
    bool worked = true;
    for (unsigned i = 0; worked && i < POLLS_MAX; i++) {
        worked = false;
        for (unsigned queue = 0; queue < fake.desc.num_queues; queue++)
            fake.queues[queue].share = ROUND_MAX;
        for (unsigned queue = 0; queue < fake.desc.num_queues; queue++) {
            if (!fake.queues[queue].kicked || fake.paused)
                continue;
            worked = true;
            fake.queues[queue].kicked = fake.ops.notified(fake.state, queue);
        }
        worked |= fake.ops.poll(fake.state);
    }
}

void fake_virtio_advance(uint64_t ns)
{
    fake.now_ns += ns;
    for (unsigned i = 0; i < fake.num_timers; i++)
        if (fake.timers[i].at_ns <= fake.now_ns) {
            fake.timers[i].at_ns = UINT64_MAX;
            fake.timers[i].due(fake.timers[i].argument);
        }
    fake_virtio_poll();
}

void fake_virtio_negotiate(uint64_t features)
{
    if (fake.ops.negotiated)
        fake.ops.negotiated(fake.state, features);
    if (fake.ops.started)
        fake.ops.started(fake.state);
    fake_virtio_poll();
}

static void let_go_all(void)
{
    fake.stopped = true;
    for (unsigned queue = 0; queue < fake.desc.num_queues; queue++)
        if (fake.ops.let_go)
            fake.ops.let_go(fake.state, queue);
    for (unsigned queue = 0; queue < fake.desc.num_queues; queue++)
        if (fake.queues[queue].taken > 0)
            abort(); /* a chain that the device holds */
}

void fake_virtio_reset(void)
{
    let_go_all();
    fake.ops.reset(fake.state);
    fake_virtio_end();
    memset(fake.queues, 0, sizeof(fake.queues));
    fake.stopped = false;
    fake_virtio_poll();
}

void fake_virtio_pause(bool paused)
{
    fake.paused = paused;
    if (fake.ops.pause)
        fake.ops.pause(fake.state, paused);
    if (paused)
        let_go_all();
    fake.stopped = paused;
    for (unsigned queue = 0; queue < fake.desc.num_queues; queue++)
        fake.queues[queue].kicked = true;
    fake_virtio_poll();
}

void fake_virtio_config(uint8_t *ret_config)
{
    fake.ops.config(fake.state, ret_config);
}

/* In the place of the library's. */
int __wrap_ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                         void *state, struct ob_device **ret_device, struct ob_fault *fault);
int __wrap_ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                         void *state, struct ob_device **ret_device, struct ob_fault *fault)
{
    fake.ops = *ops;
    fake.desc = *desc;
    fake.state = state;
    *ret_device = (struct ob_device *)&device;
    return 0;
}

void __wrap_ob_device_free(struct ob_device *freed);
// cppcheck-suppress constParameter ; as it is declared in device.h
void __wrap_ob_device_free(struct ob_device *freed)
{
    if (freed) {
        let_go_all();
        fake.ops.disconnected(fake.state);
    }
}

struct ob_virtio_chain *__wrap_ob_virtio_take(struct ob_device *from, unsigned queue);
struct ob_virtio_chain *__wrap_ob_virtio_take(struct ob_device *from, unsigned queue)
{
    struct fake_queue *of = &fake.queues[queue];
    struct fake_chain *chain = of->available;
    if (!chain || fake.stopped || fake.paused)
        return NULL;
    if (of->share == 0) {
        of->kicked = true;
        return NULL;
    }
    of->share--;
    of->available = chain->next;
    of->taken++;
    chain->chain.context = NULL;
    return &chain->chain;
}

void __wrap_ob_virtio_complete(struct ob_virtio_chain *completed, size_t written);
void __wrap_ob_virtio_complete(struct ob_virtio_chain *completed, size_t written)
{
    struct fake_chain *chain = (struct fake_chain *)completed;
    struct fake_queue *of = &fake.queues[completed->queue];
    chain->written = written;
    of->taken--;
    of->outstanding--;
    append(&of->completed, chain);
}

/* Those that are returned one after the other are taken in that order again. */
void __wrap_ob_virtio_return(struct ob_virtio_chain *returned);
void __wrap_ob_virtio_return(struct ob_virtio_chain *returned)
{
    struct fake_chain *chain = (struct fake_chain *)returned;
    struct fake_queue *of = &fake.queues[returned->queue];
    struct fake_chain **link = &of->available;
    while (*link && (*link)->chain.context == &device)
        link = &(*link)->next;
    returned->context = &device;
    chain->next = *link;
    *link = chain;
    of->taken--;
    of->kicked = true;
}

size_t __wrap_ob_virtio_read(const struct ob_virtio_chain *chain, size_t offset, void *ret_buf,
                             size_t len);
size_t __wrap_ob_virtio_read(const struct ob_virtio_chain *chain, size_t offset, void *ret_buf,
                             size_t len)
{
    size_t left = offset < chain->readable_len ? chain->readable_len - offset : 0;
    len = len < left ? len : left;
    if (len > 0)
        memcpy(ret_buf, (uint8_t *)chain->readable[0].address + offset, len);
    return len;
}

size_t __wrap_ob_virtio_write(const struct ob_virtio_chain *chain, size_t offset, const void *buf,
                              size_t len);
size_t __wrap_ob_virtio_write(const struct ob_virtio_chain *chain, size_t offset, const void *buf,
                              size_t len)
{
    size_t left = offset < chain->writable_len ? chain->writable_len - offset : 0;
    len = len < left ? len : left;
    if (len > 0)
        memcpy((uint8_t *)chain->writable[0].address + offset, buf, len);
    return len;
}

bool __wrap_ob_virtio_queue_runs(const struct ob_device *of, unsigned queue);
bool __wrap_ob_virtio_queue_runs(const struct ob_device *of, unsigned queue)
{
    return !fake.stopped && !fake.paused;
}

void __wrap_ob_virtio_config_changed(struct ob_device *changed);
void __wrap_ob_virtio_config_changed(struct ob_device *changed)
{
}

int __wrap_ob_device_watch(struct ob_device *watching, int fd, unsigned events, ob_watch_fn ready,
                           void *argument);
int __wrap_ob_device_watch(struct ob_device *watching, int fd, unsigned events, ob_watch_fn ready,
                           void *argument)
{
    return 0; /* the test turns the hub */
}

uint64_t __wrap_ob_timer_now_ns(void);
uint64_t __wrap_ob_timer_now_ns(void)
{
    return fake.now_ns;
}

int __wrap_ob_timer_new(struct ob_device *of, ob_timer_fn due, void *argument,
                        struct ob_timer **ret_timer, struct ob_fault *fault);
int __wrap_ob_timer_new(struct ob_device *of, ob_timer_fn due, void *argument,
                        struct ob_timer **ret_timer, struct ob_fault *fault)
{
    if (fake.num_timers == TIMERS)
        return -ENOMEM;
    struct ob_timer *timer = &fake.timers[fake.num_timers++];
    *timer = (struct ob_timer){due, argument, UINT64_MAX};
    *ret_timer = timer;
    return 0;
}

void __wrap_ob_timer_set(struct ob_timer *timer, uint64_t at_ns);
void __wrap_ob_timer_set(struct ob_timer *timer, uint64_t at_ns)
{
    timer->at_ns = at_ns;
}

void __wrap_ob_timer_free(struct ob_timer *timer);
void __wrap_ob_timer_free(struct ob_timer *timer)
{
}
