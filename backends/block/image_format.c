// SPDX-License-Identifier: BSD-3-Clause
/*
 * The marks are those of the formats' own documents and of QEMU's block/ folder (bdrv_probe).
 */
#include "block/image_format.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define HEAD_LEN 512u
#define TAIL_LEN 512u /* the footers of a fixed VHD and of a DMG */

#define MARK(text) (text), sizeof(text) - 1

static const struct {
    const char *format;
    unsigned offset;
    const char *mark;
    size_t len;
} marks[] = {
    {"qcow", 0, MARK("QFI\xfb\0\0\0\1")},
    {"qcow2", 0, MARK("QFI\xfb")},
    {"qed", 0, MARK("QED\0")},
    {"vmdk", 0, MARK("KDMV")},
    {"vmdk", 0, MARK("COWD")},
    {"vmdk", 0, MARK("# Disk DescriptorFile")},
    {"vdi", 0x40, MARK("\x7f\x10\xda\xbe")},
    {"vhdx", 0, MARK("vhdxfile")},
    {"vpc", 0, MARK("conectix")},
    {"luks", 0, MARK("LUKS\xba\xbe")},
    {"parallels", 0, MARK("WithoutFreeSpace")},
    {"parallels", 0, MARK("WithouFreSpacExt")},
    {"bochs", 0, MARK("Bochs Virtual HD Image")},
    {"cloop", 0, MARK("#!/bin/sh\n#V2.0 Format\n")},
};

/* A fixed VHD is the disk and a footer: its creator's mark, and at 60 the type 2. A DMG ends with a
 * block of version 4 and 512 bytes. Shorter marks could be anybody's last sector. */
static const struct {
    const char *format;
    const char *mark;
    size_t len;
    unsigned more_at;
    const char *more;
    size_t more_len;
} footers[] = {
    {"vpc", MARK("conectix"), 60, MARK("\0\0\0\2")},
    {"dmg", MARK("koly"), 4, MARK("\0\0\0\4\0\0\2\0")},
};

/* Reads as much of a piece as there is; the rest is zeroes. */
static void read_piece(int fd, uint64_t offset, char *piece, size_t len)
{
    size_t got = 0;
    memset(piece, 0, len);
    while (got < len) {
        ssize_t more = pread(fd, piece + got, len - got, (off_t)(offset + got));
        if (more <= 0)
            return;
        got += (size_t)more;
    }
}

const char *image_format_of(int fd, uint64_t size)
{
    char head[HEAD_LEN];
    char tail[TAIL_LEN];
    read_piece(fd, 0, head, sizeof(head));
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (memcmp(head + marks[i].offset, marks[i].mark, marks[i].len) == 0)
            return marks[i].format;
    if (size < TAIL_LEN)
        return NULL;
    read_piece(fd, size - TAIL_LEN, tail, sizeof(tail));
    for (size_t i = 0; i < sizeof(footers) / sizeof(footers[0]); i++)
        if (memcmp(tail, footers[i].mark, footers[i].len) == 0 &&
            memcmp(tail + footers[i].more_at, footers[i].more, footers[i].more_len) == 0)
            return footers[i].format;
    return NULL;
}

bool image_format_exists(const char *name)
{
    bool exists = strcmp(name, "raw") == 0;
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        exists |= strcmp(name, marks[i].format) == 0;
    for (size_t i = 0; i < sizeof(footers) / sizeof(footers[0]); i++)
        exists |= strcmp(name, footers[i].format) == 0;
    return exists;
}
