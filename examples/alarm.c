// SPDX-License-Identifier: BSD-3-Clause
/*
 * A complete device with an interrupt, DMA, memory, and a state that migrates and survives the death
 * of the process: an alarm clock.
 *
 * BAR 0, offset 0, 64 bits: written, when to ring, in seconds since 1970; read, how long ago that
 * is, negative while it is to come.
 * BAR 1: 12 KiB of memory, which the guest can map.
 *
 * It rings by INTx, and then writes 4 KiB of letters to the guest's memory and reads them back. It
 * is not told where, so it takes the first place that it finds, from the middle of a page on: a
 * device to try out a VMM with, not one for a guest that needs its memory. It is the
 * device that libvfio-user's sample client looks for, which runs to its end with
 *
 *     alarm --wire=vfio-user --dma=messages --socket-path=PATH
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <outboard/dma.h>
#include <outboard/irq.h>
#include <outboard/program.h>
#include <outboard/vault.h>
#include <outboard/watch.h>

#define PAGE       4096u
#define TEXT_LEN   4096u
#define LAST_START (1u << 20) /* where it stops looking for memory */
#define STATE_LEN  9          /* set, time */

/* All that outlives the process: a migration, or its death. */
struct alarm_state {
    int64_t time; /* seconds since 1970 */
    uint64_t set; /* 1: and has not rung yet */
};

struct alarm {
    struct ob_device *device;
    int timer_fd;
    struct alarm_state kept;
    bool paused;
    struct ob_dma_request request;
    uint8_t text[TEXT_LEN];
};

/* Has the timer fire when the alarm is due, at once when that is past, if it is to ring at all. */
static void wind(const struct alarm *alarm)
{
    struct itimerspec when = {0};
    if (alarm->kept.set && !alarm->paused)
        when.it_value =
            (struct timespec){.tv_sec = alarm->kept.time > 0 ? alarm->kept.time : 0, .tv_nsec = 1};
    timerfd_settime(alarm->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static uint8_t letter(size_t at)
{
    return (uint8_t)('A' + at / 1024);
}

static void checked(struct ob_dma_request *request, int result)
{
    const struct alarm *alarm = request->context;
    size_t same = 0;
    while (result == 0 && same < TEXT_LEN && alarm->text[same] == letter(same))
        same++;
    if (result != -ECANCELED && result != -ENOTCONN)
        ob_log("%s at 0x%llx", same == TEXT_LEN ? "wrote and read" : "DMA failed",
               (unsigned long long)request->iova);
}

static void written(struct ob_dma_request *request, int result)
{
    struct alarm *alarm = request->context;
    if (result == -EFAULT && request->iova < LAST_START) { /* not all of it is memory */
        request->iova += PAGE;
    } else if (result == 0) {
        memset(alarm->text, 0, TEXT_LEN);
        request->direction = OB_DMA_TO_DEVICE;
        request->done = checked;
    } else {
        checked(request, result);
        return;
    }
    ob_dma_submit(alarm->device, request);
}

static void start_dma(struct alarm *alarm)
{
    for (size_t i = 0; i < TEXT_LEN; i++)
        alarm->text[i] = letter(i);
    alarm->request = (struct ob_dma_request){.iova = PAGE / 2,
                                             .buf = alarm->text,
                                             .len = TEXT_LEN,
                                             .direction = OB_DMA_FROM_DEVICE,
                                             .done = written,
                                             .context = alarm};
    ob_dma_submit(alarm->device, &alarm->request);
}

static void ring(void *argument, unsigned events)
{
    struct alarm *alarm = argument;
    uint64_t times;
    if (read(alarm->timer_fd, &times, sizeof(times)) != sizeof(times))
        return;
    alarm->kept.set = 0;
    ob_irq_raise(alarm->device);
    ob_dma_cancel(alarm->device, &alarm->request);
    start_dma(alarm);
}

static uint64_t alarm_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    const struct alarm *alarm = state;
    if (bar != 0 || offset != 0)
        return UINT64_MAX;
    return (uint64_t)(time(NULL) - alarm->kept.time);
}

static void alarm_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct alarm *alarm = state;
    if (bar != 0 || offset != 0 || size != sizeof(alarm->kept.time))
        return;
    alarm->kept.time = (int64_t)value;
    alarm->kept.set = 1;
    ob_irq_lower(alarm->device);
    wind(alarm);
}

static void alarm_reset(void *state)
{
    struct alarm *alarm = state;
    alarm->kept.time = 0;
    alarm->kept.set = 0;
    wind(alarm);
}

static void alarm_pause(void *state, bool paused)
{
    struct alarm *alarm = state;
    alarm->paused = paused;
    wind(alarm);
}

static int alarm_save(void *state, uint8_t *ret_buf, size_t size)
{
    const struct alarm *alarm = state;
    ret_buf[0] = (uint8_t)alarm->kept.set;
    memcpy(ret_buf + 1, &alarm->kept.time, sizeof(alarm->kept.time));
    return STATE_LEN;
}

static int alarm_load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                      struct ob_fault *fault)
{
    struct alarm *alarm = state;
    if (len != STATE_LEN || buf[0] > 1)
        return -EINVAL;
    alarm->kept.set = buf[0];
    memcpy(&alarm->kept.time, buf + 1, sizeof(alarm->kept.time));
    return 0;
}

static int alarm_check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    const struct alarm_state *kept = bytes;
    return kept->set <= 1 ? 0 : -EINVAL;
}

static void alarm_resumed(void *state)
{
    wind(state);
}

static int alarm_create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "alarm",
        .vendor_id = 0xdead,
        .device_id = 0xbeef,
        .subsystem_vendor_id = 0xcafe,
        .subsystem_id = 0xbabe,
        .class_code = 0xff0000,
        .intx = true,
        .always_master = true, /* the sample client never writes the command register */
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096},
                 {.kind = OB_BAR_MEM32,
                  .flags = OB_BAR_MEMORY,
                  .size = 16384,
                  .memory = {.len = 12288}}},
        .state_len = STATE_LEN,
        .state_version = 1,
    };
    static const struct ob_device_ops ops = {.size = sizeof(ops),
                                             .read = alarm_read,
                                             .write = alarm_write,
                                             .reset = alarm_reset,
                                             .pause = alarm_pause,
                                             .save = alarm_save,
                                             .load = alarm_load};
    struct alarm *alarm = config;
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = &alarm->kept,
                                        .len = sizeof(alarm->kept),
                                        .version = 1,
                                        .check = alarm_check,
                                        .resumed = alarm_resumed};
    alarm->timer_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (alarm->timer_fd < 0)
        return -errno;
    int err = ob_device_new(&desc, &ops, alarm, ret_device, fault);
    if (err < 0)
        return err;
    alarm->device = *ret_device;
    err = ob_vault_keep(alarm->device, &kept);
    if (err < 0)
        return err;
    return ob_device_watch(alarm->device, alarm->timer_fd, OB_WATCH_READABLE, ring, alarm);
}

static void alarm_destroy(void *config)
{
    close(((struct alarm *)config)->timer_fd);
}

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "alarm",
        .summary = "An alarm clock on the PCI bus, as libvfio-user's sample client wants it.",
        .type = "alarm",
        .create = alarm_create,
        .destroy = alarm_destroy,
    };
    struct alarm alarm = {.timer_fd = -1};
    return ob_program_main(&program, &alarm, argc, argv);
}
