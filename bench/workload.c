// SPDX-License-Identifier: BSD-3-Clause
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "os/clock.h"
#include "process.h"

#define LOOK_AT_TIME 64 /* operations between two looks at the clock, where there are many */

static uint64_t next_offset(const struct workload *workload, uint64_t *state)
{
    uint64_t places = BENCH_FILE_LEN / workload->len;
    if (!workload->random)
        return (*state)++ % places * workload->len;
    *state ^= *state << 13; /* xorshift: Marsaglia, 2003 */
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % places * workload->len;
}

double workload_drive(const struct workload *workload, const struct workload_disk *disk,
                      double seconds)
{
    unsigned slots[WORKLOAD_DEPTH], in_flight = 0, free_count = workload->depth;
    uint64_t state = workload->random ? 88172645463325252u : 0, done = 0, look = 0;
    uint64_t start_ns = clock_now_ns(), end_ns = start_ns + (uint64_t)(seconds * 1e9);
    bool goes_on = true;
    for (unsigned i = 0; i < workload->depth; i++)
        slots[i] = i;
    while (goes_on || in_flight > 0) {
        for (unsigned i = 0; goes_on && i < free_count; i++, in_flight++)
            disk->put(disk->context, workload->writes, slots[i], next_offset(workload, &state),
                      workload->len);
        if (goes_on)
            disk->ring(disk->context);
        free_count = disk->wait(disk->context, slots, workload->depth);
        in_flight -= free_count;
        done += free_count;
        if (done >= look) {
            goes_on = goes_on && clock_now_ns() < end_ns;
            look = done + (disk->polls ? LOOK_AT_TIME / 8 : 1);
        }
    }
    return (double)done * 1e9 / (double)(clock_now_ns() - start_ns);
}

/* Data in every block, so that nothing is read from holes. */
void workload_make_file(const char *path)
{
    static uint8_t bytes[1 << 20];
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        bench_die("can't make %s: %s", path, strerror(errno));
    for (size_t at = 0; at < sizeof(bytes); at += 256)
        if (getrandom(bytes + at, 256, 0) != 256)
            bench_die("no random bytes");
    for (uint64_t at = 0; at < BENCH_FILE_LEN; at += sizeof(bytes))
        if (write(fd, bytes, sizeof(bytes)) != sizeof(bytes))
            bench_die("can't fill %s: %s", path, strerror(errno));
    if (fsync(fd) < 0)
        bench_die("can't write %s: %s", path, strerror(errno));
    close(fd);
}

void workload_empty_cache(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        bench_die("can't take %s from the page cache: %s", path, strerror(errno));
    close(fd);
}
