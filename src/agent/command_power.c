// SPDX-License-Identifier: BSD-3-Clause
/* Ends and pauses of the guest. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/command.h"
#include "agent/helper.h"
#include "base/auto.h"
#include "base/limits.h"

static int run(struct job *job, char *const *argv)
{
    struct helper_result result;
    int err = helper_run(argv, NULL, 0, &result);
    if (err < 0)
        return job_fail(job, "can't run %s: %s", argv[0], strerror(-err));
    if (result.status != 0)
        return job_fail(job, "%s has failed with status %d: %.300s", argv[0], result.status,
                        result.output);
    return 0;
}

/* Busybox's init has programs of these names in the place of shutdown(8). */
static int shut_down(struct job *job)
{
    static const struct {
        const char *mode;
        char *option, *simple;
    } modes[] = {
        {"powerdown", "-P", "poweroff"}, {"halt", "-H", "halt"}, {"reboot", "-r", "reboot"}};
    const char *mode = job_string(job->arguments, "mode");
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        char *const full[] = {
            "shutdown", "-h", modes[i].option, "+0", "hypervisor initiated shutdown", NULL};
        char *const reboots[] = {"shutdown", "-r", "+0", "hypervisor initiated shutdown", NULL};
        char *const simple[] = {modes[i].simple, NULL};
        if (strcmp(mode ? mode : "powerdown", modes[i].mode) != 0)
            continue;
        if (!helper_exists("shutdown"))
            return run(job, simple);
        return run(job, strcmp(modes[i].option, "-r") == 0 ? reboots : full);
    }
    return job_fail(job, "Parameter 'mode' expects 'halt', 'powerdown', or 'reboot'");
}

/* Without a swap the kernel finds that out when it has suspended its devices, the channel's too. */
static bool lacks_swap(void)
{
    char text[512]; /* a heading, then a line for each swap */
    return job_read_file("/proc/swaps", text, sizeof(text)) < 0 || !strchr(text, '/');
}

/* state: a word of /sys/power/state. */
static int suspend_by_kernel(struct job *job, const char *state)
{
    char text[128];
    if (strcmp(state, "disk") == 0 && lacks_swap())
        return job_fail(job, "can't suspend to disk: the guest has no swap for its memory");
    AUTO_FD fd = open("/sys/power/state", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || job_read_file("/sys/power/state", text, sizeof(text)) < 0 || !strstr(text, state))
        return job_fail(job, "the requested suspend mode is not supported by the guest");
    if (write(fd, state, strlen(state)) < 0)
        return job_fail(job, "can't suspend: %s", strerror(errno));
    return 0;
}

static int suspend(struct job *job, char *verb, const char *state)
{
    char *const argv[] = {"systemctl", verb, NULL};
    if (access("/run/systemd/system", F_OK) == 0 && helper_exists(argv[0]))
        return run(job, argv);
    if (state)
        return suspend_by_kernel(job, state);
    return job_fail(job, "the requested suspend mode is not supported by the guest");
}

static int suspend_ram(struct job *job)
{
    return suspend(job, "suspend", "mem");
}

static int suspend_disk(struct job *job)
{
    return suspend(job, "hibernate", "disk");
}

static int suspend_hybrid(struct job *job)
{
    return suspend(job, "hybrid-sleep", NULL);
}

static const struct argument shutdown_arguments[] = {{"mode", ARGUMENT_STRING, true}, {0}};

#define FLAGS COMMAND_SILENT

const struct command commands_power[] = {{.name = "guest-shutdown",
                                          .arguments = shutdown_arguments,
                                          .flags = FLAGS,
                                          .limit_s = LIMIT_AGENT_HELPER_S,
                                          .run = shut_down},
                                         {.name = "guest-suspend-disk",
                                          .flags = FLAGS,
                                          .limit_s = LIMIT_AGENT_HELPER_S,
                                          .run = suspend_disk},
                                         {.name = "guest-suspend-ram",
                                          .flags = FLAGS,
                                          .limit_s = LIMIT_AGENT_HELPER_S,
                                          .run = suspend_ram},
                                         {.name = "guest-suspend-hybrid",
                                          .flags = FLAGS,
                                          .limit_s = LIMIT_AGENT_HELPER_S,
                                          .run = suspend_hybrid},
                                         {0}};
