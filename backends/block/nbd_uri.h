// SPDX-License-Identifier: BSD-3-Clause
/* The URI of an NBD export, taken apart. */
#ifndef OUTBOARD_BACKENDS_BLOCK_NBD_URI_H
#define OUTBOARD_BACKENDS_BLOCK_NBD_URI_H

#include <sys/un.h>

/* NBD's longest name of an export, DNS's longest name, and the longest port, with their ends. */
#define NBD_EXPORT_MAX (4096 + 1)
#define NBD_HOST_MAX   (255 + 1)
#define NBD_PORT_MAX   (5 + 1)

struct nbd_uri {
    char export[NBD_EXPORT_MAX];
    char host[NBD_HOST_MAX]; /* empty: the server is at path */
    char port[NBD_PORT_MAX];
    struct sockaddr_un path;
};

/* Reads nbd://HOST[:PORT][/EXPORT] or nbd+unix:///[EXPORT]?socket=PATH. 0, or -EINVAL. */
int nbd_uri_parse(const char *text, struct nbd_uri *ret_uri);

#endif
