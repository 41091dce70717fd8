// SPDX-License-Identifier: BSD-3-Clause
/* usage: label CONTEXT FILE: as chcon(1), which busybox of Debian has not. */
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
    if (argc != 3 || setxattr(argv[2], "security.selinux", argv[1], strlen(argv[1]) + 1, 0) < 0) {
        perror("label");
        return 1;
    }
    return 0;
}
