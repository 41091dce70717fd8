// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/reason.h"

#include <errno.h>
#include <stddef.h>

static const struct {
    uint32_t reason;
    const char *text;
} texts[] = {
    {OB_REASON_UNREACHABLE, "the destination cannot be reached from the other end"},
    {REASON_REFUSED, "the destination refuses connections from the other end"},
    {REASON_NAME_UNKNOWN,
     "the destination does not exist for the other end: no such name, or no such socket"},
    {REASON_ADDRESS_BUSY, "another program listens there: address already in use"},
    {REASON_ADDRESS_FOREIGN, "that machine has no such address"},
    {REASON_ADDRESS_DENIED, "the other end lacks the privilege to listen there"},
};

uint32_t reason_of_errno(int err)
{
    switch (err) {
    case -ENOTCONN:
        return OB_REASON_TRANSPORT;
    case -ESHUTDOWN:
        return OB_REASON_SHUTDOWN;
    case -EAGAIN:
        return OB_REASON_BUSY;
    case -ENOMEM:
        return OB_REASON_NO_MEMORY;
    case -EACCES:
    case -EPERM:
        return OB_REASON_FORBIDDEN;
    case -ECONNREFUSED:
        return REASON_REFUSED;
    case -ENOENT:
        return REASON_NAME_UNKNOWN;
    case -ETIMEDOUT:
        return OB_REASON_TIMEOUT;
    default:
        return OB_REASON_UNREACHABLE;
    }
}

uint32_t reason_of_listen_errno(int err)
{
    switch (err) {
    case -EADDRINUSE:
        return REASON_ADDRESS_BUSY;
    case -EADDRNOTAVAIL:
        return REASON_ADDRESS_FOREIGN;
    case -EACCES:
    case -EPERM:
        return REASON_ADDRESS_DENIED;
    default:
        return reason_of_errno(err);
    }
}

const char *reason_text(uint32_t reason)
{
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].reason == reason)
            return texts[i].text;
    }
    return ob_reason_text(reason);
}

const char *reason_session_text(uint32_t reason, bool has_key)
{
    if (reason == OB_REASON_KEY)
        return has_key ? "the other end does not have the same key: give both ends the same "
                         "--key-file"
                       : "the other end asks for a key: give --key-file=PATH";
    if (reason == OB_REASON_VERSION)
        return "the other end speaks another version of the protocol: run the same release of "
               "outboard at both";
    return ob_reason_text(reason);
}

bool reason_is_lasting(uint32_t reason)
{
    return reason == OB_REASON_KEY || reason == OB_REASON_VERSION;
}
