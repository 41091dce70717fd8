// SPDX-License-Identifier: BSD-3-Clause
#include "os/inherited.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_FD 3

/* Where /proc is not mounted. Launchers have few descriptors. */
#define SEARCHED 1024

#define FOUND_MAX 256

static struct {
    unsigned count;
    struct entry {
        int fd;
        dev_t device;
        ino_t inode;
    } entry[FOUND_MAX];
} found;

bool inherited_is_named(const char *word, int fd)
{
    const char *at = word;
    while ((at = strpbrk(at, "0123456789"))) {
        char *end;
        unsigned long number = strtoul(at, &end, 10);
        bool begins = at == word || strchr("=:,/", at[-1]);
        if (begins && strchr(":,;/", *end) && number == (unsigned long)fd)
            return true; /* strchr() finds the NUL at the end, too */
        at = end;
    }
    return false;
}

static long number_of(const char *variable)
{
    const char *value = getenv(variable);
    return value && isdigit((unsigned char)*value) ? strtol(value, NULL, 10) : 0;
}

static bool is_activated(int fd)
{
    long pid = number_of("LISTEN_PID");
    return (pid == 0 || pid == getpid()) && fd - FIRST_FD < number_of("LISTEN_FDS");
}

/* A descriptor that a launcher leaves lacks FD_CLOEXEC, or exec(2) would have closed it. */
static void remember(int fd)
{
    struct stat status;
    int flags = fd < FIRST_FD || found.count == FOUND_MAX ? -1 : fcntl(fd, F_GETFD);
    if (flags >= 0 && !(flags & FD_CLOEXEC) && fstat(fd, &status) == 0)
        found.entry[found.count++] =
            (struct entry){.fd = fd, .device = status.st_dev, .inode = status.st_ino};
}

/* Before main(): a program may open descriptors of its own before it calls ob_program_main(). */
__attribute__((constructor)) static void remember_all(void)
{
    DIR *folder = opendir("/proc/self/fd");
    if (!folder) {
        for (int fd = FIRST_FD; fd < SEARCHED; fd++)
            remember(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder));)
        if (isdigit((unsigned char)entry->d_name[0]))
            remember(atoi(entry->d_name));
    closedir(folder);
}

/* The number may belong to another file now. */
static bool is_there(const struct entry *entry)
{
    struct stat status;
    int flags = fcntl(entry->fd, F_GETFD);
    return flags >= 0 && !(flags & FD_CLOEXEC) && fstat(entry->fd, &status) == 0 &&
           status.st_dev == entry->device && status.st_ino == entry->inode;
}

void inherited_close(int argc, char *const argv[], const char *also)
{
    for (unsigned i = 0; i < found.count; i++) {
        const struct entry *entry = &found.entry[i];
        bool is_meant = is_activated(entry->fd) || (also && inherited_is_named(also, entry->fd));
        for (int word = 1; word < argc && !is_meant; word++)
            is_meant = inherited_is_named(argv[word], entry->fd);
        if (!is_meant && is_there(entry))
            close(entry->fd);
    }
    found.count = 0;
}
