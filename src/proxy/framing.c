// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/framing.h"

#include <errno.h>
#include <string.h>

#include "proxy/proxy.h"

const char *framing_hint(const struct proxy *proxy, int err)
{
    if (err != -EPROTO || proxy->options->channel.framing != OB_CHANNEL_STREAM ||
        proxy->history.sessions > 0)
        return "";
    return "; if it leads to a VMM's port or a serial line, append ,line at both ends";
}

/* Its greeting tells, in which a zero precedes the magic word: on a line no frame has a zero in it.
 */
bool framing_sees_stream(struct proxy *proxy, const uint8_t *bytes, size_t len)
{
    static const char greeting[] = "\0OUTBOARD";
    const struct channel_spec *spec = &proxy->options->channel;
    if (spec->framing != OB_CHANNEL_LINE || ob_session_tag(proxy->session) ||
        !memmem(bytes, len, greeting, sizeof(greeting) - 1))
        return false;
    trouble_set(&proxy->trouble,
                "the other end of %s sends a stream, but this end expects a line; append ,line to "
                "the channel there, or remove it here",
                spec->text);
    return true;
}
