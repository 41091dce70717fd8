// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/saving.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "supervisor/internal.h"
#include "wire/base64.h"

static struct device_process *device_of(const struct saved_state *state)
{
    return &state->supervisor->devices[state - state->supervisor->saving.states];
}

static void forget(struct saved_state *state)
{
    auto_close(&state->fd);
    state->fd = -1;
    state->len = 0;
}

void saving_init(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < LIMIT_DEVICES; i++)
        supervisor->saving.states[i] = (struct saved_state){.supervisor = supervisor, .fd = -1};
}

void saving_done(struct supervisor *supervisor)
{
    struct monitor_call *call = supervisor->saving.call;
    supervisor->saving.call = NULL;
    if (call)
        monitor_refuse(call, MONITOR_GENERIC, "the machine ends");
    for (unsigned i = 0; i < LIMIT_DEVICES; i++)
        forget(&supervisor->saving.states[i]);
}

void saving_forget(struct supervisor *supervisor, unsigned number)
{
    forget(&supervisor->saving.states[number]);
}

/* A device in use; a channel has no state. */
static bool is_in(const struct supervisor *supervisor, unsigned number)
{
    return supervisor->plugs[number].state == PLUG_IN &&
           !supervisor->plan->devices[number].is_channel;
}

/* A file whose length the device can't change. */
static int make_file(struct saved_state *state)
{
    forget(state);
    AUTO_FD fd = memfd_create("outboard-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, LIMIT_STATE_BYTES) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    state->fd = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
    return state->fd < 0 ? -errno : 0;
}

void saving_resume(struct supervisor *supervisor)
{
    const struct order order = {.code = ORDER_RESUME};
    if (!supervisor->saving.rests)
        return;
    supervisor->saving.rests = false;
    for (unsigned i = 0; i < supervisor->started; i++)
        if (is_in(supervisor, i))
            order_sender_send(&supervisor->devices[i].orders, &order, -1, NULL, NULL);
}

static void put_states(const struct supervisor *supervisor, struct json_out *out)
{
    json_out_begin(out, '[');
    for (unsigned i = 0; i < supervisor->started; i++) {
        if (!is_in(supervisor, i))
            continue;
        json_out_begin(out, '{');
        json_out_member_string(out, "device", supervisor->plan->devices[i].id);
        json_out_member_uint(out, "length", supervisor->saving.states[i].len);
        json_out_end(out, '}');
    }
    json_out_end(out, ']');
}

/* All devices have answered. */
static void finish(struct supervisor *supervisor)
{
    struct saving *saving = &supervisor->saving;
    struct monitor_call *call = saving->call;
    saving->call = NULL;
    if (!saving->why[0]) {
        put_states(supervisor, monitor_out(call));
        monitor_answer(call);
        return;
    }
    saving_resume(supervisor);
    if (saving->paused_vm)
        qmp_execute(supervisor->qmp, "cont", NULL, -1, NULL, NULL);
    monitor_refuse(call, MONITOR_GENERIC, "%s", saving->why);
}

static void on_answer(void *argument, int err, uint64_t len, const char *why)
{
    struct saved_state *state = argument;
    struct saving *saving = &state->supervisor->saving;
    if (!saving->call || saving->waiting == 0)
        return;
    saving->waiting--;
    if (err == 0 && len > LIMIT_STATE_BYTES) {
        err = -EOVERFLOW;
        why = "got a state that is too long";
    }
    if (err == 0 && !saving->loads)
        state->len = len;
    if (err < 0) {
        forget(state);
        if (!saving->why[0])
            snprintf(saving->why, sizeof(saving->why), "device %s: %.160s",
                     device_of(state)->plan->id, why);
    }
    if (saving->waiting == 0)
        finish(state->supervisor);
}

static int ask(struct saved_state *state, bool loads)
{
    const struct order order = {.code = loads ? ORDER_LOAD : ORDER_SAVE, .number = state->len};
    int err = loads ? 0 : make_file(state);
    if (err == 0 && loads && lseek(state->fd, 0, SEEK_SET) < 0)
        err = -errno;
    return err < 0
               ? err
               : order_sender_send(&device_of(state)->orders, &order, state->fd, on_answer, state);
}

/* The VM does not run. An answer never comes before this is over. */
static void ask_all(struct supervisor *supervisor)
{
    struct saving *saving = &supervisor->saving;
    saving->rests = true;
    for (unsigned i = 0; i < supervisor->started; i++) {
        if (!is_in(supervisor, i))
            continue;
        int err = ask(&saving->states[i], saving->loads);
        if (err == 0)
            saving->waiting++;
        else if (!saving->why[0])
            snprintf(saving->why, sizeof(saving->why), "device %s: %s",
                     supervisor->plan->devices[i].id, strerror(-err));
    }
    if (saving->waiting == 0)
        finish(supervisor);
}

static void on_stopped(void *argument, const struct json *result, const char *error)
{
    struct supervisor *supervisor = argument;
    struct saving *saving = &supervisor->saving;
    if (!saving->call)
        return;
    if (error) {
        struct monitor_call *call = saving->call;
        saving->call = NULL;
        monitor_refuse(call, MONITOR_GENERIC, "can't pause the VM: %s", error);
        return;
    }
    ask_all(supervisor);
}

/* Whether a command may begin; if not, it is refused. */
static bool begin(struct supervisor *supervisor, struct monitor_call *call, bool loads)
{
    struct saving *saving = &supervisor->saving;
    const char *why = NULL;
    if (saving->call)
        why = "got a second command of save or restore; try again later";
    else if (!supervisor->running || supervisor->ending)
        why = "the machine is starting or ending; try again later";
    else if (loads && qmp_is_ready(supervisor->qmp) && supervisor->health.runs)
        why = "got a VM that runs, expected one that is paused; start QEMU with -S";
    if (why) {
        monitor_refuse(call, MONITOR_GENERIC, "%s", why);
        return false;
    }
    saving->call = call;
    saving->loads = loads;
    saving->paused_vm = false;
    saving->waiting = 0;
    saving->why[0] = '\0';
    return true;
}

void saving_save(struct supervisor *supervisor, struct monitor_call *call)
{
    if (!begin(supervisor, call, false))
        return;
    if (qmp_is_ready(supervisor->qmp) && supervisor->health.runs) {
        supervisor->saving.paused_vm = true;
        qmp_execute(supervisor->qmp, "stop", NULL, -1, on_stopped, supervisor);
    } else {
        ask_all(supervisor);
    }
}

/* A client says how many states it has written, so that none of an earlier one is taken for its. */
static bool check_count(const struct supervisor *supervisor, struct monitor_call *call)
{
    const struct json *arguments = monitor_arguments(call);
    const struct json *count = arguments ? json_member(arguments, "count") : NULL;
    int64_t expected = 0;
    for (unsigned i = 0; i < supervisor->started; i++)
        expected += is_in(supervisor, i);
    if (!count || (count->type == JSON_INT && count->integer == expected))
        return true;
    monitor_refuse(call, MONITOR_GENERIC, "got states of %lld devices, expected %lld",
                   count->type == JSON_INT ? (long long)count->integer : -1, (long long)expected);
    return false;
}

void saving_restore(struct supervisor *supervisor, struct monitor_call *call)
{
    if (!check_count(supervisor, call) || !begin(supervisor, call, true))
        return;
    for (unsigned i = 0; i < supervisor->started; i++)
        if (is_in(supervisor, i) && supervisor->saving.states[i].len == 0) {
            supervisor->saving.call = NULL;
            monitor_refuse(call, MONITOR_GENERIC,
                           "device %s: got no state, expected write-state before restore",
                           supervisor->plan->devices[i].id);
            return;
        }
    ask_all(supervisor);
}

/* The state that a call names, and where in it; NULL: the call was refused. */
static struct saved_state *find(struct supervisor *supervisor, struct monitor_call *call,
                                uint64_t *ret_offset)
{
    const char *id = monitor_text(call, "device");
    const struct device_process *device = id ? hotplug_find(supervisor, id) : NULL;
    const struct json *arguments = monitor_arguments(call);
    const struct json *offset = arguments ? json_member(arguments, "offset") : NULL;
    if (!device) {
        monitor_refuse(call, "DeviceNotFound", "got device '%.80s', expected one of list",
                       id ? id : "");
        return NULL;
    }
    if (!offset || offset->type != JSON_INT || offset->integer < 0 ||
        offset->integer > LIMIT_STATE_BYTES || supervisor->saving.call) {
        monitor_refuse(call, MONITOR_GENERIC,
                       "expected an offset up to %u, and no save or restore under way",
                       LIMIT_STATE_BYTES);
        return NULL;
    }
    *ret_offset = (uint64_t)offset->integer;
    return &supervisor->saving.states[device - supervisor->devices];
}

void saving_read(struct supervisor *supervisor, struct monitor_call *call)
{
    uint8_t bytes[LIMIT_STATE_PIECE];
    uint64_t offset;
    const struct saved_state *state = find(supervisor, call, &offset);
    if (!state)
        return;
    uint64_t left = offset < state->len ? state->len - offset : 0;
    ssize_t len = left == 0 ? 0
                            : pread(state->fd, bytes, left < sizeof(bytes) ? left : sizeof(bytes),
                                    (off_t)offset);
    if (len < 0) {
        monitor_refuse(call, MONITOR_GENERIC, "%s", strerror(errno));
        return;
    }
    struct json_out *out = monitor_out(call);
    json_out_begin(out, '{');
    json_out_member_uint(out, "length", state->len);
    json_out_name(out, "data");
    json_out_base64(out, bytes, (size_t)len);
    json_out_end(out, '}');
    monitor_answer(call);
}

/* Writes a piece. The first one, at 0, begins a state. 0 or a negative errno. */
static int write_piece(struct saved_state *state, uint64_t offset, const char *text,
                       size_t text_len)
{
    uint8_t bytes[LIMIT_STATE_PIECE];
    if (text_len > base64_len(sizeof(bytes)))
        return -EMSGSIZE;
    ssize_t len = base64_decode(text, text_len, bytes);
    int err = len <= 0 || offset + (uint64_t)len > LIMIT_STATE_BYTES ? -EINVAL : 0;
    if (err == 0 && offset == 0)
        err = make_file(state);
    if (err == 0 && (state->fd < 0 || offset != state->len))
        err = -ESPIPE;
    if (err == 0 && pwrite(state->fd, bytes, (size_t)len, (off_t)offset) != len)
        err = -ENOMEM;
    if (err == 0)
        state->len = offset + (uint64_t)len;
    return err;
}

void saving_write(struct supervisor *supervisor, struct monitor_call *call)
{
    uint64_t offset;
    const char *text = monitor_text(call, "data");
    struct saved_state *state = find(supervisor, call, &offset);
    if (!state)
        return;
    int err = text ? write_piece(state, offset, text, strlen(text)) : -EINVAL;
    if (err < 0)
        monitor_refuse(call, MONITOR_GENERIC,
                       "data: expected Base64 of at most %u bytes, which continue those before: %s",
                       LIMIT_STATE_PIECE, strerror(-err));
    else
        monitor_answer(call);
}
