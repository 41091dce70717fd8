// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/notice.h"

#include <sys/wait.h>

#define DATA_MAX 1024

static void put_end(struct json_out *out, int status)
{
    if (WIFSIGNALED(status))
        json_out_member_int(out, "signal", WTERMSIG(status));
    else
        json_out_member_int(out, "status", WEXITSTATUS(status));
}

void notice_device(const struct supervisor *supervisor, const char *event,
                   const struct device_process *device)
{
    struct json_out out;
    json_out_init(&out, DATA_MAX);
    json_out_begin(&out, '{');
    json_out_member_string(&out, "device", device->plan->id);
    if (device->state == DEVICE_PROCESS_ENDED)
        put_end(&out, device->status);
    json_out_end(&out, '}');
    json_out_bytes(&out, "", 1);
    if (json_out_done(&out) == 0) {
        monitor_event(supervisor->monitor, event, out.bytes);
        monitor_event(supervisor->plugs[device - supervisor->devices].monitor, event, out.bytes);
    }
    json_out_free(&out);
}

void notice_machine(const struct supervisor *supervisor, const char *event)
{
    monitor_event(supervisor->monitor, event, NULL);
}
