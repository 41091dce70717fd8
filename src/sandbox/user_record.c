// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/user_record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"

#define TURN_BYTE ((off_t)UINT32_MAX + 1)

static struct flock byte_lock(short type, off_t offset)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1};
}

/* Opens the record for `flags`, O_RDWR or O_RDONLY; only root can. */
static int open_record(const char *folder, int flags)
{
    char path[PATH_MAX];
    if (mkdir(folder, 0755) < 0 && errno != EEXIST)
        return -errno;
    if (snprintf(path, sizeof(path), "%s/users", folder) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    int fd = open(path, flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}

/* Whether another open file has a lock there. */
static bool is_taken(int fd, uid_t user)
{
    struct flock found = byte_lock(F_WRLCK, (off_t)user);
    return fcntl(fd, F_OFD_GETLK, &found) < 0 || found.l_type != F_UNLCK;
}

static uid_t draw(uid_t count)
{
    uint32_t number;
    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
        number = (uint32_t)getpid();
    return number % count;
}

/* The first free id behind one that is drawn by chance. */
static int find_free(int fd, uid_t first, uid_t count, uid_t *ret_user)
{
    uid_t start = draw(count);
    for (uid_t i = 0; i < count; i++) {
        uid_t user = first + (uid_t)(((uint64_t)start + i) % count);
        if (is_taken(fd, user))
            continue;
        *ret_user = user;
        return 0;
    }
    return -EBUSY;
}

int user_record_take(const char *folder, uid_t first, uid_t count, uid_t *ret_user)
{
    AUTO_FD turn = open_record(folder, O_RDWR);
    AUTO_FD kept = turn < 0 ? turn : open_record(folder, O_RDONLY);
    struct flock wait = byte_lock(F_WRLCK, TURN_BYTE);
    uid_t user = first;
    if (kept < 0)
        return kept;
    while (fcntl(turn, F_OFD_SETLKW, &wait) < 0)
        if (errno != EINTR)
            return -errno;
    int err = find_free(turn, first, count, &user);
    struct flock take = byte_lock(F_RDLCK, (off_t)user);
    if (err == 0 && fcntl(kept, F_OFD_SETLK, &take) < 0)
        err = -errno;
    if (err < 0)
        return err;
    *ret_user = user;
    return take_fd(&kept);
}
