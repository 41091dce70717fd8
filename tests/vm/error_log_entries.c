// SPDX-License-Identifier: BSD-3-Clause
/* Prints, of an NVMe controller, the number of entries that its error log has ever had: SMART /
 * Health Information, bytes 176 and following. For guests, which have no such program. */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define GET_LOG_PAGE 0x02
#define SMART        0x02
#define SMART_LEN    512
#define ENTRIES_AT   176

int main(int argc, char **argv)
{
    uint8_t page[SMART_LEN];
    struct nvme_admin_cmd command = {
        .opcode = GET_LOG_PAGE,
        .nsid = UINT32_MAX,
        .addr = (uintptr_t)page,
        .data_len = SMART_LEN,
        .cdw10 = (SMART_LEN / 4 - 1) << 16 | SMART,
    };
    int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1;
    if (fd < 0 || ioctl(fd, NVME_IOCTL_ADMIN_CMD, &command) != 0) {
        perror("error-log-entries");
        return 1;
    }
    uint64_t entries = 0;
    memcpy(&entries, page + ENTRIES_AT, sizeof(entries));
    printf("%" PRIu64 "\n", entries);
    return 0;
}
