// SPDX-License-Identifier: BSD-3-Clause
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <outboard/client_memory.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/number.h"
#include "dialer.h"
#include "os/clock.h"
#include "os/socket.h"
#include "remote_cell.h"

#define PAGE 4096

#define DEFAULT_TIMEOUT_MS 1000

/* Between two tries of --wait. */
#define WAIT_PAUSE_MS 50
#define WAIT_FOREVER  UINT64_MAX
#define MAX_WAIT_S    (365u * 24 * 3600)

const char remote_options_help[] =
    "  --fd=N           use this open socket instead of connecting to a path\n"
    "  --wire=NAME      vfio-user, mpqemu, mpqemu-v8 (the dialect of the v8 patch series), or "
    "auto:\n"
    "                   the device's wire; found out at a path (default; --fd: mpqemu)\n"
    "  --timeout-ms=N   wait so long for an answer (default 1000)\n"
    "  --wait[=SECONDS] try again until the device is there and free (default: once)\n"
    "  --cell=HOW       none; default: the parts that the kernel allows; required: all\n"
    "  --cell-policy=FILE\n"
    "                   system calls that the cell allows besides\n"
    "  --user=UID       the id that root takes in the cell (default: drawn)\n"
    "  --print-cell     enter the cell, print its parts, and end\n"
    "  --help           print this text\n";

/* The value of "--NAME=value", or NULL when the word is another. */
static const char *value_of(const char *word, const char *name)
{
    size_t len = strlen(name);
    return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

void remote_set_defaults(struct remote *remote)
{
    *remote = (struct remote){.fd = -1,
                              .options.timeout_ms = DEFAULT_TIMEOUT_MS,
                              .cell.how = CONFINE_DEFAULT,
                              .page = -1,
                              .dialer = -1};
}

enum remote_verdict remote_take_option(struct remote *remote, const char *word)
{
    const char *value;
    uint64_t number;
    if ((value = value_of(word, "--wire"))) {
        remote->options.wire = strcmp(value, "auto") == 0 ? NULL : value; /* judged by the client */
        return REMOTE_TAKEN;
    }
    if (strcmp(word, "--wait") == 0) {
        remote->wait_ms = WAIT_FOREVER;
        return REMOTE_TAKEN;
    }
    if ((value = value_of(word, "--wait")) && number_parse(value, 10, MAX_WAIT_S, &number) == 0) {
        remote->wait_ms = number * 1000;
        return REMOTE_TAKEN;
    }
    if (!value && (value = value_of(word, "--fd")) &&
        number_parse(value, 0, INT_MAX, &number) == 0) {
        remote->fd = (int)number;
        return REMOTE_TAKEN;
    }
    if (!value && (value = value_of(word, "--timeout-ms")) &&
        number_parse(value, 0, LIMIT_CLIENT_TIMEOUT_MS, &number) == 0) {
        remote->options.timeout_ms = number ? (unsigned)number : DEFAULT_TIMEOUT_MS;
        return REMOTE_TAKEN;
    }
    if (value)
        complain("got '%s', expected a number within the option's limits", word);
    return value ? REMOTE_BAD : remote_take_cell_option(&remote->cell, word);
}

const char *remote_reason(struct ob_client *client)
{
    int refusal = ob_client_refusal(client);
    if (ob_client_fault(client)->code || refusal == 0)
        return ob_client_fault(client)->text;
    return strerror(-refusal);
}

/* QEMU's remote ends when it is told that there is no memory, so it is given a page of it. */
static int publish_page(const struct remote *remote, struct ob_client *client,
                        struct ob_fault *fault)
{
    const struct ob_client_region page = {.len = PAGE, .fd = remote->page};
    int err = ob_client_publish_memory(client, &page, 1, fault);
    return err < 0 ? ob_fault_set(fault, err, "%s", remote_reason(client)) : 0;
}

/* As ob_client_connect(), from the cell. */
static int connect_to(const struct remote *remote, const struct ob_client_options *options,
                      struct ob_client **ret_client, struct ob_fault *fault)
{
    AUTO_FD fd = remote->dialer >= 0 ? dialer_connect(remote->dialer)
                                     : socket_connect(remote->path, options->timeout_ms);
    if (fd < 0)
        return ob_fault_set(fault, fd, "can't connect to %s: %s", remote->path, strerror(-fd));
    int err = ob_client_new(fd, options, ret_client, fault);
    if (err == 0)
        take_fd(&fd);
    return err;
}

/* Speaks one wire. 0; -EBUSY when the device serves somebody else; -ENOTCONN when it has closed the
 * connection; -ETIMEDOUT when it does not answer; or another errno. */
static int open_over(const struct remote *remote, const char *wire, struct ob_client_info *ret_info,
                     struct ob_client **ret_client, struct ob_fault *fault)
{
    struct ob_client_options options = remote->options;
    struct ob_client *client = NULL;
    const uint64_t start_ns = clock_now_ns();
    options.size = sizeof(options);
    options.wire = wire;
    int err = remote->path ? connect_to(remote, &options, &client, fault)
                           : ob_client_new(remote->fd, &options, &client, fault);
    if (err == 0)
        err = publish_page(remote, client, fault);
    if (err == 0)
        err = ob_client_probe(client, ret_info, fault);
    if (err == 0) {
        *ret_client = client;
        return 0;
    }
    if (client && ob_client_state(client) == OB_CLIENT_LOST && ob_client_refusal(client) == -EBUSY)
        err = -EBUSY;
    else if (client && ob_client_fault(client)->code)
        err = ob_client_fault(client)->code;
    /* A greeting that is not answered has lost the remote as one that closes has. */
    if (err == -ENOTCONN && clock_now_ns() - start_ns >= options.timeout_ms * UINT64_C(1000000))
        err = -ETIMEDOUT;
    ob_client_free(client);
    return err;
}

/* A device that is left in peace by a greeting of the other wire: one of ours continues, and so does
 * every server at a path that outlives its clients. */
static int open_over_any(const struct remote *remote, struct ob_client_info *ret_info,
                         struct ob_client **ret_client, struct ob_fault *fault)
{
    struct ob_fault first = {0};
    int err = open_over(remote, "vfio-user", ret_info, ret_client, &first);
    if (err == -EPROTO)
        return ob_fault_set(fault, err, "%s: the listener is not a vfio-user device: %.120s",
                            remote->path, first.text);
    if (err != -ENOTCONN)
        return err < 0 ? ob_fault_set(fault, err, "%s", first.text) : 0;
    struct ob_fault second = {0};
    err = open_over(remote, "mpqemu", ret_info, ret_client, &second);
    if (err == -ENOTCONN)
        return ob_fault_set(fault, err,
                            "%s: the listener speaks neither vfio-user nor mpqemu: it closes the "
                            "connection",
                            remote->path);
    return err < 0 ? ob_fault_set(fault, err, "%s", second.text) : 0;
}

static int open_once(const struct remote *remote, struct ob_client_info *ret_info,
                     struct ob_client **ret_client, struct ob_fault *fault)
{
    const char *wire = remote->options.wire;
    if (!wire && !remote->path)
        wire = "mpqemu"; /* there is one try, which QEMU's remote does not survive over another */
    struct ob_fault cause = {0};
    int err = wire ? open_over(remote, wire, ret_info, ret_client, &cause)
                   : open_over_any(remote, ret_info, ret_client, &cause);
    const char *where = remote->path ? remote->path : "--fd";
    if (err == -EBUSY)
        return ob_fault_set(
            fault, err, "%s: the device is busy: it serves a VMM; try again when the VMM has gone",
            where);
    if (err == -ETIMEDOUT)
        return ob_fault_set(fault, err,
                            "%s: %.120s; the listener serves another client, or is not a device",
                            where, cause.text);
    return err < 0 ? ob_fault_set(fault, err, "%s", cause.text) : 0;
}

/* Whether that may pass by itself. */
static bool may_pass(int err)
{
    return err == -ENOENT || err == -ECONNREFUSED || err == -EBUSY || err == -ETIMEDOUT;
}

static struct ob_client *open_in_time(const struct remote *remote, struct ob_client_info *ret_info)
{
    const struct timespec pause = {.tv_nsec = WAIT_PAUSE_MS * 1000000L};
    uint64_t start_ns = clock_now_ns();
    for (;;) {
        struct ob_client *client = NULL;
        struct ob_fault fault = {0};
        int err = open_once(remote, ret_info, &client, &fault);
        if (err == 0)
            return client;
        if (!remote->path || !may_pass(err) ||
            (clock_now_ns() - start_ns) / 1000000 >= remote->wait_ms) {
            complain("%s", fault.text);
            return NULL;
        }
        nanosleep(&pause, NULL);
    }
}

/* Before the cell, where memory in files is counted by no limit. Nobody can make it larger. */
static int make_page(struct remote *remote, struct ob_fault *fault)
{
    AUTO_FD fd = memfd_create("outboard-page", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, PAGE) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return ob_fault_set(fault, -errno, "no memory to share: %s", strerror(errno));
    remote->page = take_fd(&fd);
    return 0;
}

static void end(struct remote *remote)
{
    remote_cell_end(remote);
    auto_close(&remote->page);
}

struct ob_client *remote_open(struct remote *remote, struct ob_client_info *ret_info)
{
    struct ob_fault fault = {0};
    struct ob_client *client = NULL;
    if (make_page(remote, &fault) < 0) {
        complain("%s", fault.text);
        return NULL;
    }
    if (remote_cell_enter(remote, &fault) < 0)
        complain("%s", fault.text);
    else
        client = open_in_time(remote, ret_info);
    if (!client)
        end(remote);
    return client;
}

void remote_close(struct remote *remote, struct ob_client *client)
{
    ob_client_free(client);
    end(remote);
}
