// SPDX-License-Identifier: BSD-3-Clause
#include <outboard/session.h>

static const struct {
    uint32_t reason;
    const char *text;
} texts[] = {
    {OB_REASON_NONE, "orderly end"},
    {OB_REASON_CANCELLED, "cancelled by the other end"},
    {OB_REASON_NO_SERVICE, "no such service"},
    {OB_REASON_FORBIDDEN, "not allowed"},
    {OB_REASON_UNREACHABLE, "the service cannot be reached"},
    {OB_REASON_FAILED, "the service broke off"},
    {OB_REASON_BUSY, "too many streams"},
    {OB_REASON_NO_MEMORY, "out of memory"},
    {OB_REASON_TIMEOUT, "timed out"},
    {OB_REASON_SHUTDOWN, "the other end is going away"},
    {OB_REASON_TRANSPORT, "the channel went away"},
    {OB_REASON_RESTARTED, "the peer restarted"},
    {OB_REASON_CORRUPT, "the channel damaged or lost bytes"},
    {OB_REASON_PROTOCOL, "the peer broke the protocol"},
    {OB_REASON_KEY, "the peer does not have the key"},
    {OB_REASON_VERSION, "the peer speaks another version"},
    {OB_REASON_TAKEN, "another end has the channel"},
};

const char *ob_reason_text(uint32_t reason)
{
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].reason == reason)
            return texts[i].text;
    }
    return reason >= OB_REASON_APPLICATION ? "an error of the application" : "unknown reason";
}
