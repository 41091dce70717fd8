// SPDX-License-Identifier: BSD-3-Clause
/* The values of options: forwards, services, keys. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/settings_file.h"
#include "proxy/options.h"

/* Where SERVICE begins in [ADDRESS:]PORT[:SERVICE]; NULL without one. */
static const char *find_service(const char *text)
{
    const char *at = text;
    bool has_address = false;
    if (strncmp(text, "unix:", 5) == 0)
        at = text + 5;
    else if (*text == '[' && strstr(text, "]:"))
        at = strstr(text, "]:") + 2;
    else
        has_address = strspn(text, "0123456789") != strcspn(text, ":");
    at = strchr(at, ':');
    if (at && has_address)
        at = strchr(at + 1, ':');
    return at ? at + 1 : NULL;
}

int forward_parse(const char *text, struct forward *ret_forward, struct ob_fault *fault)
{
    struct forward forward = {0};
    const char *service = find_service(text);
    size_t len = service ? (size_t)(service - text) - 1 : strlen(text);
    char listen[ADDRESS_TEXT_MAX];
    if (len >= sizeof(listen) || (service && strlen(service) >= sizeof(forward.service)))
        return ob_fault_set(fault, -EINVAL, "'%.100s...' is too long", text);
    memcpy(listen, text, len);
    listen[len] = '\0';
    if (service)
        memcpy(forward.service, service, strlen(service) + 1);
    int err = address_parse_listen(listen, &forward.listen, fault);
    if (err == 0)
        *ret_forward = forward;
    return err;
}

/* Names that begin with '@' are the protocol's own, those with ':' are destinations. */
static int check_name(const char *name, size_t len)
{
    return len == 0 || len > OB_SESSION_SERVICE_MAX || name[0] == '@' || memchr(name, ':', len)
               ? -EINVAL
               : 0;
}

int service_parse(const char *text, struct service *ret_service, struct ob_fault *fault)
{
    struct service service = {0};
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : 0;
    struct ob_fault cause = {0};
    int err = 0;
    if (check_name(text, len) < 0)
        return ob_fault_set(fault, -EINVAL,
                            "got '%.150s', expected NAME=TARGET with a NAME of letters and digits",
                            text);
    memcpy(service.name, text, len);
    if (strncmp(equals + 1, "exec:", 5) == 0) {
        service.kind = SERVICE_EXEC;
        service.command = equals + 6;
    } else if (strncmp(equals + 1, "pty:", 4) == 0) {
        service.kind = SERVICE_TERMINAL;
        service.command = equals + 5;
    } else {
        err = address_parse_target(equals + 1, &service.address, &cause);
    }
    if (err < 0)
        return ob_fault_set(fault, err, "%.180s; or give exec:COMMAND or pty:COMMAND", cause.text);
    if (service.kind != SERVICE_CONNECT && !service.command[strspn(service.command, " \t")])
        return ob_fault_set(fault, -EINVAL,
                            "got '%.150s', expected a command after exec: or pty:", text);
    *ret_service = service;
    return 0;
}

const struct service *services_find(const struct services *services, const char *name)
{
    for (size_t i = 0; i < services->count; i++) {
        if (strcmp(services->service[i].name, name) == 0)
            return &services->service[i];
    }
    return NULL;
}

/* The lists replace those of earlier files. */
static int set_request_list(struct proxy_options *options, int which, const char *value,
                            struct ob_fault *fault)
{
    const char **list = which == 0 ? &options->requests.allow : &options->requests.block;
    char *copy = strdup(value);
    if (!copy)
        return ob_fault_set(fault, -ENOMEM, "no memory for the list");
    free(options->request_lists[which]);
    options->request_lists[which] = copy;
    settings_list(copy);
    *list = copy;
    return agent_policy_check_list(copy, fault) ? 0 : -EINVAL;
}

static int on_request_setting(void *argument, const char *key, char *value, struct ob_fault *fault)
{
    struct proxy_options *options = argument;
    if (strcmp(key, "allow-rpcs") == 0)
        return set_request_list(options, 0, value, fault);
    if (strcmp(key, "block-rpcs") == 0)
        return set_request_list(options, 1, value, fault);
    if (strcmp(key, "read-only") != 0)
        return -ENOENT;
    options->requests.read_only |= settings_flag(value);
    return 0;
}

int request_policy_read(const char *path, struct proxy_options *options, struct ob_fault *fault)
{
    return settings_file_read(path, "outboard-proxy(1)", on_request_setting, options, fault);
}

void boot_id_read(char ret_boot_id[BOOT_ID_SIZE])
{
    AUTO_FD fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, ret_boot_id, BOOT_ID_SIZE - 1);
    ret_boot_id[len > 0 ? len : 0] = '\0';
}

int key_file_read(const char *path, char ret_key[OB_SESSION_KEY_MAX], struct ob_fault *fault)
{
    struct stat status;
    char bytes[OB_SESSION_KEY_MAX + 2]; /* a newline, and one to see that it is too long */
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return ob_fault_set(fault, -errno, "can't open %.150s: %s", path, strerror(errno));
    if (S_ISREG(status.st_mode) && (status.st_mode & 077))
        return ob_fault_set(fault, -EPERM, "%.150s: other users can read the file; run chmod 600",
                            path);
    ssize_t len = read(fd, bytes, sizeof(bytes));
    if (len < 0)
        return ob_fault_set(fault, -errno, "can't read %.150s: %s", path, strerror(errno));
    while (len > 0 && bytes[len - 1] == '\n')
        len--;
    if (len < OB_SESSION_KEY_MIN || len > OB_SESSION_KEY_MAX)
        return ob_fault_set(fault, -EINVAL,
                            "%.150s: the key has %zd bytes, expected %d to %d; make one with "
                            "head -c 32 /dev/urandom | base64",
                            path, len, OB_SESSION_KEY_MIN, OB_SESSION_KEY_MAX);
    memcpy(ret_key, bytes, (size_t)len);
    explicit_bzero(bytes, sizeof(bytes));
    return (int)len;
}
