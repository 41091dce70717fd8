// SPDX-License-Identifier: BSD-3-Clause
#include "wire/agent_policy.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *const readers[] = {
    "guest-exec-status",
    "guest-file-close",
    "guest-file-flush",
    "guest-file-read",
    "guest-file-seek",
    "guest-fsfreeze-status",
    "guest-get-cpustats",
    "guest-get-devices", /* of Windows */
    "guest-get-disks",
    "guest-get-diskstats",
    "guest-get-dmesg",
    "guest-get-file",
    "guest-get-fsinfo",
    "guest-get-host-name",
    "guest-get-load",
    "guest-get-memory-block-info",
    "guest-get-memory-blocks",
    "guest-get-osinfo",
    "guest-get-time",
    "guest-get-timezone",
    "guest-get-users",
    "guest-get-vcpus",
    "guest-hello",
    "guest-info",
    "guest-network-get-interfaces",
    "guest-network-get-route",
    "guest-ping",
    "guest-ssh-get-authorized-keys",
    "guest-sync",
    "guest-sync-delimited",
};

static const char *const changers[] = {
    "guest-exec",
    "guest-file-open",
    "guest-file-write",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-freeze-list",
    "guest-fsfreeze-thaw",
    "guest-fstrim",
    "guest-set-memory-blocks",
    "guest-set-time",
    "guest-set-user-password",
    "guest-set-vcpus",
    "guest-shutdown",
    "guest-ssh-add-authorized-keys",
    "guest-ssh-remove-authorized-keys",
    "guest-suspend-disk",
    "guest-suspend-hybrid",
    "guest-suspend-ram",
};

static bool has(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

bool agent_command_changes(const char *name)
{
    return !has(readers, sizeof(readers) / sizeof(readers[0]), name);
}

bool agent_command_is_known(const char *name)
{
    return !agent_command_changes(name) ||
           has(changers, sizeof(changers) / sizeof(changers[0]), name);
}

bool agent_policy_check_list(const char *list, struct ob_fault *fault)
{
    char name[128];
    for (const char *at = list;; at++) {
        size_t len = strcspn(at, ",");
        snprintf(name, sizeof(name), "%.*s", (int)len, at);
        if (!agent_command_is_known(name)) {
            ob_fault_set(fault, -EINVAL,
                         "got '%.100s', expected a command of the agent; guest-info lists them",
                         name);
            return false;
        }
        at += len;
        if (*at == '\0')
            return true;
    }
}

static bool list_has(const char *list, const char *name)
{
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        size_t len = strcspn(at, ",");
        if (strncmp(at, name, len) == 0 && name[len] == '\0')
            return true;
    }
    return false;
}

bool agent_policy_is_set(const struct agent_policy *policy)
{
    return policy->allow || policy->block || policy->read_only;
}

const char *agent_policy_refusal(const struct agent_policy *policy, const char *name)
{
    if (policy->allow && !list_has(policy->allow, name))
        return "the command is not allowed";
    if (list_has(policy->block, name))
        return "the command is blocked";
    if (policy->read_only && agent_command_changes(name))
        return "the agent is read-only";
    return NULL;
}
