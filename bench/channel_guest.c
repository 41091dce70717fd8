// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guest's end of bench/channel: channel_guest WHERE SIZE. WHERE is a device file, or vsock:PORT of
 * the host. It obeys commands of one byte: 'w' to write SIZE bytes, 'r' to read SIZE bytes and
 * answer with one, 'e' to send each message of MESSAGE bytes back until 'q', 'q' to end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define CHUNK   65536u
#define MESSAGE 64u

static char bytes[CHUNK];

static void fail(const char *what)
{
    fprintf(stderr, "channel_guest: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_end(const char *where)
{
    if (strncmp(where, "vsock:", 6) != 0)
        return open(where, O_RDWR);
    const struct sockaddr_vm address = {.svm_family = AF_VSOCK,
                                        .svm_cid = VMADDR_CID_HOST,
                                        .svm_port = (unsigned)strtoul(where + 6, NULL, 10)};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -1;
    return fd;
}

static void write_all(int fd, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t got = write(fd, bytes, len - at < CHUNK ? len - at : CHUNK);
        if (got <= 0)
            fail("write");
        at += (size_t)got;
    }
}

static void read_all(int fd, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t got = read(fd, bytes, len - at < CHUNK ? len - at : CHUNK);
        if (got <= 0)
            fail("read");
        at += (size_t)got;
    }
}

static void echo(int fd)
{
    for (;;) {
        read_all(fd, MESSAGE);
        const bool is_last = bytes[0] == 'q';
        write_all(fd, MESSAGE);
        if (is_last)
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const size_t size = strtoul(argv[2], NULL, 10);
    int fd = open_end(argv[1]);
    if (fd < 0)
        fail(argv[1]);
    for (;;) {
        read_all(fd, 1);
        switch (bytes[0]) {
        case 'w':
            write_all(fd, size);
            break;
        case 'r':
            read_all(fd, size);
            write_all(fd, 1);
            break;
        case 'e':
            echo(fd);
            break;
        default:
            return 0;
        }
    }
}
