// SPDX-License-Identifier: BSD-3-Clause
/* outboard qemu-args: QEMU's side of a configuration, for libvirt and others that start QEMU. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "os/log.h"
#include "supervisor/plan.h"

static void print_help(void)
{
    puts("usage: outboard qemu-args [--libvirt] FILE\n"
         "\n"
         "Prints the arguments with which QEMU 10.1 or later reaches the devices of FILE. Each\n"
         "device has a socket-path. `outboard run FILE` serves them; without [machine] it starts\n"
         "no VMM.\n"
         "\n"
         "  --libvirt  as elements for a domain of libvirt, which shares its memory by itself");
}

static void print_escaped(const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            fputs("&amp;", stdout);
        else if (*text == '<')
            fputs("&lt;", stdout);
        else if (*text == '\'')
            fputs("&apos;", stdout);
        else
            putchar(*text);
    }
}

static void print_libvirt(const struct words *arguments)
{
    puts("<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>");
    for (unsigned i = 0; i < arguments->count; i++) {
        fputs("  <qemu:arg value='", stdout);
        print_escaped(arguments->word[i]);
        puts("'/>");
    }
    puts("</qemu:commandline>");
}

static int print(const char *path, bool libvirt)
{
    struct ob_fault fault = {0};
    struct config *config = NULL;
    struct words arguments = {0};
    int status = EXIT_SUCCESS;
    if (config_read(path, &config, &fault) < 0 ||
        plan_qemu_arguments(config, !libvirt, &arguments, &fault) < 0) {
        log_line("%s", fault.text);
        status = EXIT_USAGE;
    } else if (libvirt) {
        print_libvirt(&arguments);
    } else {
        words_print(&arguments, stdout);
    }
    words_done(&arguments);
    config_free(config);
    return status;
}

int cmd_qemu_args(int argc, char **argv)
{
    const char *path = NULL;
    bool libvirt = false;
    if (log_start("outboard qemu-args") < 0)
        return EXIT_FAILURE;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        if (strcmp(argv[i], "--libvirt") == 0) {
            libvirt = true;
        } else if (argv[i][0] == '-' || path) {
            log_line("got '%s', expected [--libvirt] FILE", argv[i]);
            return EXIT_USAGE;
        } else {
            path = argv[i];
        }
    }
    if (!path) {
        log_line("got no FILE; give one (`outboard qemu-args --help` tells more)");
        return EXIT_USAGE;
    }
    return print(path, libvirt);
}
