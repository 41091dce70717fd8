// SPDX-License-Identifier: BSD-3-Clause
#include "block/image_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>

/* QEMU's block/file-posix.c: the first bytes of both kinds, to which the number of the permission is
 * added. */
#define DOES         100
#define LETS_NOBODY  200
#define READ         0
#define WRITE        1
#define RESIZE       3
#define REQUESTS     (INT64_C(1) << 62) /* a byte of ours, beyond the end of any file */
#define RANGE(first) (first), 1

static int lock(int fd, short kind, off_t first, off_t len)
{
    struct flock range = {.l_type = kind, .l_whence = SEEK_SET, .l_start = first, .l_len = len};
    if (fcntl(fd, F_OFD_SETLK, &range) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

static int lock_of_another(int fd, off_t first, off_t len)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = len};
    if (fcntl(fd, F_OFD_GETLK, &range) < 0)
        return -errno;
    return range.l_type == F_UNLCK ? 0 : -EAGAIN;
}

/* As QEMU does: the permissions that are used and those denied to others are locked first, so that of two
 * who come at the same time at least one sees the other. */
static int lock_for_reading(int fd)
{
    static const off_t own[] = {DOES + READ, LETS_NOBODY + WRITE, LETS_NOBODY + RESIZE};
    static const off_t others[] = {LETS_NOBODY + READ, DOES + WRITE, DOES + RESIZE};
    int err = 0;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && err == 0; i++)
        err = lock(fd, F_RDLCK, RANGE(own[i]));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]) && err == 0; i++)
        err = lock_of_another(fd, RANGE(others[i]));
    return err;
}

int image_lock(int fd, bool readonly)
{
    /* A writer shares with nobody, whatever bytes they lock. */
    return readonly ? lock_for_reading(fd) : lock(fd, F_WRLCK, 0, REQUESTS);
}

int image_lock_requests(int fd, bool readonly)
{
    return lock(fd, readonly ? F_RDLCK : F_WRLCK, RANGE(REQUESTS));
}

void image_unlock(int fd)
{
    lock(fd, F_UNLCK, 0, REQUESTS + 1);
}
