// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard poke: registers by hand.
 *
 * All words are understood before the device is touched. BARs that nobody has placed are given
 * addresses, as firmware would.
 */
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "command.h"
#include "remote.h"

#define MAX_ACCESSES 64
#define MEMORY_AT    0x80000000u
#define PORTS_AT     0x1000u
#define CONFIG_SPACE OB_BAR_COUNT /* in the place of a BAR's index */

struct access {
    bool writes;
    unsigned where; /* a BAR, or CONFIG_SPACE */
    uint64_t offset;
    unsigned size;
    uint64_t value;
};

static void print_help(void)
{
    printf(
        "usage: outboard poke [OPTION...] (SOCKET | --fd=N) ACCESS [, ACCESS]...\n\n"
        "Reads and writes registers of a device, in one connection. A device that serves a VMM is\n"
        "busy; one that was started with --fd ends when this does. An ACCESS is\n\n"
        "  read WHERE OFFSET [SIZE]\n"
        "  write WHERE OFFSET [SIZE] VALUE\n\n"
        "where WHERE is cfg or bar0 to bar5, SIZE is 1, 2, 4 (default) or 8 bytes. Numbers may\n"
        "be hexadecimal, with 0x. Each read prints its value on a line.\n\n%s",
        remote_options_help);
}

static bool parse_where(const char *word, unsigned *ret_where)
{
    if (strcmp(word, "cfg") == 0) {
        *ret_where = CONFIG_SPACE;
        return true;
    }
    if (strncmp(word, "bar", 3) != 0 || word[3] < '0' || word[3] > '5' || word[4])
        return false;
    *ret_where = (unsigned)(word[3] - '0');
    return true;
}

/* One access of count words. */
static bool parse_access(char **words, int count, struct access *ret_access)
{
    struct access access = {.size = 4};
    uint64_t size = 4;
    access.writes = count > 0 && strcmp(words[0], "write") == 0;
    if (count < 1 || (!access.writes && strcmp(words[0], "read") != 0))
        return false;
    int with_size = access.writes ? 5 : 4;
    if (count != with_size && count != with_size - 1)
        return false;
    bool good = parse_where(words[1], &access.where);
    good = good && number_parse(words[2], 0, UINT64_MAX, &access.offset) == 0;
    if (count == with_size)
        good = good && number_parse(words[3], 0, 8, &size) == 0;
    access.size = (unsigned)size;
    good = good && (size == 1 || size == 2 || size == 4 || size == 8);
    uint64_t largest = size < 8 ? (UINT64_C(1) << (8 * size)) - 1 : UINT64_MAX;
    if (access.writes)
        good = good && number_parse(words[count - 1], 0, largest, &access.value) == 0;
    if (access.where == CONFIG_SPACE)
        good = good && size <= 4 && access.offset < 4096;
    *ret_access = access;
    return good;
}

/* Returns how many accesses the words are, or -1 after naming the word that is no access. */
static int parse_accesses(char **words, int count, struct access *ret_accesses)
{
    int found = 0;
    for (int at = 0; at <= count; at++) {
        int len = 0;
        while (at + len < count && strcmp(words[at + len], ",") != 0)
            len++;
        if (found == MAX_ACCESSES || !parse_access(words + at, len, &ret_accesses[found])) {
            complain("access %d: expected `read WHERE OFFSET [SIZE]` or `write WHERE OFFSET [SIZE] "
                     "VALUE`, or it is one too many",
                     found + 1);
            return -1;
        }
        found++;
        at += len;
    }
    return found;
}

/* Whether the BARs answer already. */
static bool is_placed(struct ob_client *client)
{
    uint32_t command;
    return ob_client_config_read(client, PCI_COMMAND, 2, &command) == 0 &&
           command & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

static int carry_out(struct ob_client *client, const struct access *access)
{
    uint32_t narrow = 0;
    uint64_t value = 0;
    int err;
    if (access->where == CONFIG_SPACE && access->writes)
        err = ob_client_config_write(client, (uint32_t)access->offset, access->size,
                                     (uint32_t)access->value);
    else if (access->where == CONFIG_SPACE)
        err = ob_client_config_read(client, (uint32_t)access->offset, access->size, &narrow);
    else if (access->writes)
        err =
            ob_client_bar_write(client, access->where, access->offset, access->size, access->value);
    else
        err = ob_client_bar_read(client, access->where, access->offset, access->size, &value);
    if (err < 0) {
        const char *reason = remote_reason(client);
        complain("%s", *reason ? reason : "the device has no such register");
        return err;
    }
    if (!access->writes)
        printf("0x%0*" PRIx64 "\n", (int)(2 * access->size), value | narrow);
    return 0;
}

static int poke(struct remote *remote, const struct access *accesses, int count)
{
    struct ob_client_info info;
    struct ob_client *client = remote_open(remote, &info);
    if (!client)
        return EXIT_FAILURE;
    int err = 0;
    for (int i = 0; i < count && err == 0; i++) {
        if (accesses[i].where != CONFIG_SPACE && !is_placed(client))
            err = ob_client_place_bars(client, MEMORY_AT, PORTS_AT);
        if (err < 0)
            complain("the BARs of the device can't be placed: %s", strerror(-err));
        else
            err = carry_out(client, &accesses[i]);
    }
    remote_close(remote, client);
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int cmd_poke(int argc, char **argv)
{
    struct remote remote;
    struct access accesses[MAX_ACCESSES];
    enum remote_verdict verdict = REMOTE_TAKEN;
    int i = 1;
    remote_set_defaults(&remote);
    for (; i < argc && argv[i][0] == '-' && verdict == REMOTE_TAKEN; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        verdict = remote_take_option(&remote, argv[i]);
        if (verdict == REMOTE_NO_OPTION)
            complain("got '%s', expected an option; `outboard poke --help` lists them", argv[i]);
    }
    if (verdict != REMOTE_TAKEN)
        return EXIT_USAGE;
    if (remote.cell.print)
        return remote_print_cell(&remote);
    if (remote.fd < 0 && i < argc)
        remote.path = argv[i++];
    if (!remote.path && remote.fd < 0) {
        complain("give either the path of a device's socket or --fd=N");
        return EXIT_USAGE;
    }
    int count = parse_accesses(argv + i, argc - i, accesses);
    return count < 0 ? EXIT_USAGE : poke(&remote, accesses, count);
}
