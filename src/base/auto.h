// SPDX-License-Identifier: BSD-3-Clause
/*
 * Locals that clean up after themselves. Hand a descriptor or a pointer on with take_fd() or
 * take_ptr(), which leave nothing behind to close or free.
 */
#ifndef OUTBOARD_BASE_AUTO_H
#define OUTBOARD_BASE_AUTO_H

#include <stdlib.h>
#include <unistd.h>

static inline void auto_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void auto_free(void *ptr)
{
    free(*(void **)ptr);
}

static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#define take_ptr(ptr)                                                                              \
    ({                                                                                             \
        typeof(*(ptr)) taken_ = *(ptr);                                                            \
        *(ptr) = NULL;                                                                             \
        taken_;                                                                                    \
    })

#define AUTO_FD   __attribute__((cleanup(auto_close))) int
#define AUTO_FREE __attribute__((cleanup(auto_free)))

#endif
