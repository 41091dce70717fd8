// SPDX-License-Identifier: BSD-3-Clause
#include "remote.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/number.h"

#define PAGE 4096

const char remote_options_help[] =
    "  --fd=N           use this open socket instead of connecting to a path\n"
    "  --wire=NAME      mpqemu (default), mpqemu-v8 (the dialect of the v8 patch series),\n"
    "                   or vfio-user\n"
    "  --timeout-ms=N   wait so long for an answer (default 1000)\n"
    "  --help           print this text\n";

/* The value of "--NAME=value", or NULL when the word is another. */
static const char *value_of(const char *word, const char *name)
{
    size_t len = strlen(name);
    return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

enum remote_verdict remote_take_option(struct remote *remote, const char *word)
{
    const char *value;
    uint64_t number;
    if ((value = value_of(word, "--wire"))) {
        remote->options.wire = value; /* judged when the client is made */
        return REMOTE_TAKEN;
    }
    if ((value = value_of(word, "--fd")) && number_parse(value, 0, INT_MAX, &number) == 0) {
        remote->fd = (int)number;
        return REMOTE_TAKEN;
    }
    if (!value && (value = value_of(word, "--timeout-ms")) &&
        number_parse(value, 0, LIMIT_CLIENT_TIMEOUT_MS, &number) == 0) {
        remote->options.timeout_ms = (unsigned)number;
        return REMOTE_TAKEN;
    }
    if (value)
        complain("'%s': not a number that makes sense here", word);
    return value ? REMOTE_BAD : REMOTE_NO_OPTION;
}

const char *remote_reason(struct ob_client *client)
{
    int refusal = ob_client_refusal(client);
    if (ob_client_fault(client)->code || refusal == 0)
        return ob_client_fault(client)->text;
    return strerror(-refusal);
}

/* QEMU's remote ends when it is told that there is no memory, so it is given a page of it. */
static int publish_page(struct ob_client *client, struct ob_fault *fault)
{
    AUTO_FD fd = memfd_create("outboard-page", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, PAGE) < 0)
        return ob_fault_set(fault, -errno, "no memory to share: %s", strerror(errno));
    const struct ob_client_region page = {.len = PAGE, .fd = fd};
    int err = ob_client_publish_memory(client, &page, 1, fault);
    return err < 0 ? ob_fault_set(fault, err, "%s", remote_reason(client)) : 0;
}

struct ob_client *remote_open(const struct remote *remote, struct ob_client_info *ret_info)
{
    struct ob_client *client = NULL;
    struct ob_fault fault = {0};
    int err = remote->path ? ob_client_connect(remote->path, &remote->options, &client, &fault)
                           : ob_client_new(remote->fd, &remote->options, &client, &fault);
    if (err == 0)
        err = publish_page(client, &fault);
    if (err == 0)
        err = ob_client_probe(client, ret_info, &fault);
    if (err == 0)
        return client;
    complain("%s", fault.text);
    ob_client_free(client);
    return NULL;
}
