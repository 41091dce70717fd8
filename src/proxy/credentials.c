// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/credentials.h"

#include <stdio.h>
#include <sys/socket.h>

#include "endpoint/outside.h"

/* user_namespaces(7): a user that our namespace, a cell's, does not map. */
#define OVERFLOW_UID 65534

void credentials_describe(int fd, struct outside *outside, char ret_text[CREDENTIALS_TEXT_MAX])
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    ret_text[0] = '\0';
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 0)
        return;
    if (peer.uid == OVERFLOW_UID && (!outside || outside_user(outside, fd, &peer.uid) < 0))
        snprintf(ret_text, CREDENTIALS_TEXT_MAX, "pid %d", peer.pid);
    else
        snprintf(ret_text, CREDENTIALS_TEXT_MAX, "uid %u, pid %d", peer.uid, peer.pid);
}
