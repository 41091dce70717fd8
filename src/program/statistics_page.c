// SPDX-License-Identifier: BSD-3-Clause
#include "program/statistics_page.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"

struct statistics *statistics_page_open(void)
{
    const char *text = getenv(STATISTICS_VARIABLE);
    const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat stat;
    uint64_t number;
    if (!text || number_parse(text, 10, INT_MAX, &number) < 0 || number <= STDERR_FILENO)
        return NULL;
    int fd = (int)number;
    /* A file of somebody's is never taken for the page. */
    if (fcntl(fd, F_GET_SEALS) != seals || fstat(fd, &stat) < 0 || stat.st_size != STATISTICS_LEN)
        return NULL;
    void *page = mmap(NULL, STATISTICS_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return NULL;
    close(fd);
    struct statistics *statistics = page;
    statistics->magic = STATISTICS_MAGIC;
    return statistics;
}

void statistics_page_close(struct statistics *page)
{
    if (page)
        munmap(page, STATISTICS_LEN);
}
