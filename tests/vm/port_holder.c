// SPDX-License-Identifier: BSD-3-Clause
/*
 * A program of a guest that holds a port open: port_holder NAME. A peer of the host sends its letter, a
 * capital one, and gets more of the small letter than the port's ring holds.
 *
 * It tells "read X" at the first byte of a peer, "wrote X" when it has written, and "break" if the port's end was seen. If another letter
 * comes and no break came between, it tells "LIED". It looks every 10 ms, as a poor program does, so that
 * it sees an end of file only if that lasts. It gives up its descriptor only when the port is gone.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLASS  "/sys/class/virtio-ports"
#define OUTPUT (3u << 20)

/* A peer's bytes may come before the driver has done its work for PORT_OPEN 1, which lets the port be written to. */
#define FIRST_TRIES 100u

static void rest(void)
{
    const struct timespec time = {.tv_nsec = 10000000};
    nanosleep(&time, NULL);
}

static bool has_name(const char *port, const char *name)
{
    char path[PATH_MAX], found[256] = "";
    snprintf(path, sizeof(path), CLASS "/%s/name", port);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    bool same = fgets(found, sizeof(found), file) && strncmp(found, name, strlen(name)) == 0 &&
                found[strlen(name)] == '\n';
    fclose(file);
    return same;
}

/* Opens the port as soon as it is there. */
static int open_port(const char *name)
{
    for (;; rest()) {
        DIR *folder = opendir(CLASS);
        const struct dirent *entry;
        int fd = -1;
        while (folder && fd < 0 && (entry = readdir(folder))) {
            char path[PATH_MAX];
            snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
            if (has_name(entry->d_name, name))
                fd = open(path, O_RDWR | O_NONBLOCK);
        }
        if (folder)
            closedir(folder);
        if (fd >= 0)
            return fd;
    }
}

static void send_letter(int fd, char letter)
{
    static char bytes[32768];
    memset(bytes, letter, sizeof(bytes));
    unsigned tries = FIRST_TRIES;
    for (unsigned sent = 0; sent < OUTPUT;) {
        ssize_t put = write(fd, bytes, sizeof(bytes));
        if (put < 0 && errno == EAGAIN && sent == 0 && tries-- > 0) {
            rest();
            continue;
        }
        if (put <= 0)
            return; /* the ring is full, or the port is gone */
        sent += (unsigned)put;
    }
}

int main(int argc, char **argv)
{
    char last = 0;
    bool broken = true;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 2)
        return 2;
    int fd = open_port(argv[1]);
    puts("holding");
    for (;; rest()) {
        char bytes[4096];
        ssize_t got = read(fd, bytes, sizeof(bytes));
        for (ssize_t i = 0; i < got; i++) {
            if (bytes[i] == last && !broken)
                continue;
            if (!broken)
                printf("LIED %c %c\n", last, bytes[i]);
            printf("read %c\n", bytes[i]);
            last = bytes[i];
            broken = false;
            send_letter(fd, (char)(last - 'A' + 'a'));
            printf("wrote %c\n", last);
        }
        if (got > 0 || (got < 0 && errno == EAGAIN))
            continue;
        if (!broken)
            puts("break");
        broken = true;
        if (got < 0) {
            close(fd);
            fd = open_port(argv[1]);
        }
    }
}
