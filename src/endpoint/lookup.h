// SPDX-License-Identifier: BSD-3-Clause
/*
 * Lookup: the addresses of a host name without the C library's name services, which a static
 * program can't use: glibc ends it where nsswitch.conf names a module that is installed.
 *
 * The hosts file first, then the name servers of resolv.conf(5), with its search list and ndots.
 * It waits, so it runs in a child.
 */
#ifndef OUTBOARD_ENDPOINT_LOOKUP_H
#define OUTBOARD_ENDPOINT_LOOKUP_H

/* Where the files are; tests have their own. */
struct lookup_files {
    const char *hosts;
    const char *resolv_conf;
    unsigned port; /* of the name servers */
};

/* Writes a line "ADDRESS STREAM NAME" for each address to fd, as getent(1) does for ahosts; NAME is
 * the host's own name behind its aliases. Returns the exit status of getent: 0, or 2 when the name
 * has no address. */
int lookup_name(int fd, const char *name, const struct lookup_files *files);

#endif
