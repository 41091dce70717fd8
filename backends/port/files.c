// SPDX-License-Identifier: BSD-3-Clause
#include "port/files.h"

#include <errno.h>
#include <sys/resource.h>

#include "os/closer.h"

/* Of each device program: the wire's, the log's, the loop's. */
#define FILES_BESIDE 64u

int port_files_reserve(uint64_t count, const char *options, struct ob_fault *fault)
{
    struct rlimit files;
    const rlim_t needed = FILES_BESIDE + (rlim_t)count;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return -errno;
    if (files.rlim_cur >= needed)
        return 0;
    if (files.rlim_max < needed)
        return ob_fault_set(fault, -EMFILE,
                            "limit of open files: got %llu, expected %llu for these %s; raise it "
                            "(ulimit -Hn) or give fewer %s",
                            (unsigned long long)files.rlim_max, (unsigned long long)needed, options,
                            options);
    files.rlim_cur = needed;
    return setrlimit(RLIMIT_NOFILE, &files) < 0 ? -errno : 0;
}

void port_files_close(int fd)
{
    closer_close(fd);
}
