// SPDX-License-Identifier: BSD-3-Clause
/* A backdoor library that has been taken over: each command is a deed that a cell is to refuse. The
 * answer is 0 when the deed was done, else a negative errno. tests/escape has all deeds. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <outboard/backdoor_host.h>

OB_API void backdoor(uint64_t command, void *data);

void backdoor(uint64_t command, void *data)
{
    int fd = command == 0 ? open("/etc/passwd", O_RDONLY) : open("/tmp", O_TMPFILE | O_RDWR, 0600);
    int64_t answer = fd < 0 ? -errno : 0;
    memcpy(data, &answer, sizeof(answer));
    if (fd >= 0)
        close(fd);
}

#ifdef WITH_THREAD
static void *wait_for_ever(void *argument)
{
    for (;;) /* it is also woken when the process changes its user */
        pause();
}

__attribute__((constructor)) static void start_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, wait_for_ever, NULL);
}
#endif
