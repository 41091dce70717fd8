// SPDX-License-Identifier: BSD-3-Clause
#include "program/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "base/pci_id.h"
#include "program/activation.h"
#include "program/author.h"
#include "program/wires.h"
#include "sandbox/label.h"

#define DEFAULT_POLL_US     100
#define DEFAULT_SOCKET_MODE 0600

int ob_option_number(const char *value, uint64_t min, uint64_t max, uint64_t *ret_number,
                     struct ob_fault *fault)
{
    uint64_t number;
    if (!value || !ret_number)
        return ob_fault_set(fault, -EINVAL, "ob_option_number(): value or ret_number is NULL");
    if (number_parse(value, 10, max, &number) < 0 || number < min)
        return ob_fault_set(fault, -EINVAL,
                            "got '%s', expected a number from %" PRIu64 " to %" PRIu64, value, min,
                            max);
    *ret_number = number;
    return 0;
}

static int apply_fd(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    uint64_t number = 0;
    int err = ob_option_number(value, 0, INT_MAX, &number, fault);
    if (err == 0)
        options->fd = (int)number;
    return err;
}

static int apply_socket_path(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    options->socket_path = value;
    return 0;
}

static int apply_socket_mode(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    uint64_t number;
    if (number_parse(value, 8, 0777, &number) < 0)
        return ob_fault_set(fault, -EINVAL, "got '%s', expected a mode in octal from 0 to 777",
                            value);
    options->socket_mode = (unsigned)number;
    return 0;
}

static int apply_wire(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    return wires_find(NULL, value, &options->wire, fault);
}

static int apply_poll_us(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    uint64_t number = 0;
    int err = ob_option_number(value, 0, LIMIT_POLL_US, &number, fault);
    if (err == 0)
        options->poll_us = (unsigned)number;
    return err;
}

static int apply_dma(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    options->dma_by_messages = strcmp(value, "messages") == 0;
    if (options->dma_by_messages || strcmp(value, "shared") == 0)
        return 0;
    return ob_fault_set(fault, -EINVAL, "got '%s', expected shared or messages", value);
}

static int apply_pci_id(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    if (pci_id_parse(value, &options->vendor_id, &options->device_id) < 0)
        return ob_fault_set(
            fault, -EINVAL,
            "got '%.40s', expected VENDOR:DEVICE in hexadecimal, as 1af4:10f0, and a vendor "
            "below ffff",
            value);
    options->has_pci_id = true;
    return 0;
}

static int apply_trace(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    options->trace = value ? value : "";
    return 0;
}

static int apply_cell(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    return confine_parse_how(value, &options->cell.how, fault);
}

static int apply_print_cell(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    options->cell.print = true;
    return 0;
}

static int apply_cell_policy(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    options->cell.policy = value;
    return 0;
}

static int apply_user(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    return confine_parse_user(value, &options->cell.user, fault);
}

static int apply_label(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    options->cell.label = value;
    return 0;
}

static const struct ob_option common[] = {
    {"fd", "N", "serve the peer of this open socket, or its connections", apply_fd},
    {"socket-path", "PATH", "listen at this path", apply_socket_path},
    {"socket-mode", "MODE", "permissions of that socket (default 600)", apply_socket_mode},
    {"wire", "NAME", "the protocol: mpqemu, vfio-user or vhost-user (default: the peer's)",
     apply_wire},
    {"poll-us", "N", "longest time to poll before blocking, 0: never (default 100)", apply_poll_us},
    {"dma", "HOW", "guest memory is mapped if shared (default), or reached by messages", apply_dma},
    {"pci-id", "VENDOR:DEVICE", "PCI ids, in hexadecimal (default: the device's)", apply_pci_id},
    {"cell", "HOW", "default: all that the kernel allows; required: all; none", apply_cell},
    {"cell-policy", "FILE", "system calls that the cell allows besides", apply_cell_policy},
    {"label", "LABEL", "run under this AppArmor profile or SELinux context", apply_label},
    {"user", "UID", "the user that root becomes in the cell (default: drawn)", apply_user},
    {"print-cell", NULL, "enter the cell, print its parts, and end", apply_print_cell},
    {"trace", "FILE", "write a line for each message, to FILE or standard error", apply_trace},
};

static const struct {
    const char *name;
    enum options_verdict verdict;
    const char *help;
} verdicts[] = {
    {"help", OPTIONS_HELP, "print this text"},
    {"version", OPTIONS_VERSION, "print the version"},
    {"print-capabilities", OPTIONS_CAPABILITIES, "print the program's capabilities as JSON"},
};

#define COMMON_COUNT  (sizeof(common) / sizeof(common[0]))
#define VERDICT_COUNT (sizeof(verdicts) / sizeof(verdicts[0]))
#define MAX_OPTIONS   (COMMON_COUNT + VERDICT_COUNT + AUTHOR_MAX_OPTIONS)

/* Whether the option may go without its value. */
static bool is_optional(const struct ob_option *option)
{
    return option->apply == apply_trace;
}

static struct option getopt_entry(const struct ob_option *option, int value)
{
    return (struct option){
        .name = option->name,
        .has_arg = is_optional(option) ? optional_argument
                   : option->metavar   ? required_argument
                                       : no_argument,
        .val = value,
    };
}

/* Lays out the table of getopt_long(3): the common options are 1.., the verdicts follow, then the
 * program's own. */
static void fill_table(const struct ob_program *program, struct option *table)
{
    int value = 1;
    for (size_t i = 0; i < COMMON_COUNT; i++, value++)
        *table++ = getopt_entry(&common[i], value);
    for (size_t i = 0; i < VERDICT_COUNT; i++, value++)
        *table++ = (struct option){.name = verdicts[i].name, .val = value};
    for (int i = 0; program->options && program->options[i].name; i++, value++)
        *table++ = getopt_entry(&program->options[i], value);
    *table = (struct option){0};
}

/* The author's options may not hide those that all programs have, nor be hidden by them. */
static int check_names(const struct ob_program *program, struct ob_fault *fault)
{
    for (const struct ob_option *own = program->options; own && own->name; own++) {
        bool taken = false;
        for (size_t i = 0; i < COMMON_COUNT; i++)
            taken |= strcmp(own->name, common[i].name) == 0;
        for (size_t i = 0; i < VERDICT_COUNT; i++)
            taken |= strcmp(own->name, verdicts[i].name) == 0;
        if (taken)
            return ob_fault_set(fault, -EINVAL,
                                "ob_program.options: --%s is an option of every device program",
                                own->name);
    }
    return 0;
}

/* Carries out an entry of the table, counted from 0. As options_parse(). */
static int apply_entry(const struct ob_program *program, void *config, size_t index,
                       struct options *options, struct ob_fault *fault)
{
    if (index < COMMON_COUNT)
        return author_apply(&common[index], options, optarg, fault);
    index -= COMMON_COUNT;
    if (index < VERDICT_COUNT)
        return (int)verdicts[index].verdict;
    return author_apply(&program->options[index - VERDICT_COUNT], config, optarg, fault);
}

/* A device that one wire alone can carry is served over that. */
static int check_wire(const struct ob_program *program, struct options *options,
                      struct ob_fault *fault)
{
    if (options->wire && options->wire->only_virtio && !program->is_virtio)
        return ob_fault_set(
            fault, -EINVAL,
            "--wire: got %s, expected mpqemu or vfio-user: this is no virtio device",
            options->wire->wire);
    if (!program->wire)
        return 0;
    if (options->wire && strcmp(options->wire->wire, program->wire) != 0)
        return ob_fault_set(fault, -EINVAL,
                            "--wire: got %s, expected %s, the only wire that can carry this device",
                            options->wire->wire, program->wire);
    return wires_find("ob_program.wire", program->wire, &options->wire, fault);
}

/* Guest memory by messages is vfio-user's alone; who asks for it need not name the wire too. */
static int check_dma(const struct ob_program *program, struct options *options,
                     struct ob_fault *fault)
{
    if (!options->dma_by_messages)
        return 0;
    if (program->needs_shared_memory)
        return ob_fault_set(fault, -EINVAL,
                            "--dma: got messages, expected shared: this device maps guest memory");
    return wires_use_messages("--dma=messages", &options->wire, fault);
}

static int check_peer(struct options *options, struct ob_fault *fault)
{
    if (options->fd < 0 && !options->socket_path) {
        int fd = activation_take(fault);
        if (fd < 0 && fd != -ENOENT)
            return fd;
        options->fd = fd < 0 ? -1 : fd;
    }
    if (options->fd >= 0 && options->socket_path)
        return ob_fault_set(fault, -EINVAL, "give --fd or --socket-path, not both");
    if (options->fd < 0 && !options->socket_path)
        return ob_fault_set(fault, -EINVAL,
                            "give --fd=N (an open socket) or --socket-path=PATH (where to listen)");
    return OPTIONS_SERVE;
}

int options_parse(const struct ob_program *program, void *config, int argc, char **argv,
                  struct options *ret_options, struct ob_fault *fault)
{
    struct option table[MAX_OPTIONS + 1];
    struct options options = {.fd = -1,
                              .socket_mode = DEFAULT_SOCKET_MODE,
                              .poll_us = DEFAULT_POLL_US,
                              .cell.how = CONFINE_DEFAULT};
    if (author_check(program, fault) < 0 || check_names(program, fault) < 0)
        return OPTIONS_SLIP;
    fill_table(program, table);
    opterr = 0;
    for (;;) {
        const char *word = optind < argc ? argv[optind] : "";
        int value = getopt_long(argc, argv, "+:", table, NULL);
        if (value < 0)
            break;
        if (value == '?' || value == ':')
            return ob_fault_set(fault, -EINVAL, "got '%s', %s; --help lists the options", word,
                                value == '?' ? "expected an option" : "which needs a value");
        int verdict = apply_entry(program, config, (unsigned)value - 1, &options, fault);
        if (verdict != OPTIONS_SERVE)
            return verdict;
    }
    if (optind < argc)
        return ob_fault_set(fault, -EINVAL, "got '%s', expected an option; --help lists them",
                            argv[optind]);
    /* Before anything is taken that an exec would lose. */
    int err = options.cell.label ? label_take(options.cell.label, argv, fault) : 0;
    if (err == 0)
        err = check_wire(program, &options, fault);
    if (err == 0)
        err = check_dma(program, &options, fault);
    int verdict = err < 0              ? err
                  : options.cell.print ? (int)OPTIONS_CELL
                                       : check_peer(&options, fault);
    if (verdict >= 0)
        *ret_options = options;
    return verdict;
}

static void print_option(const struct ob_option *option)
{
    char left[64];
    if (is_optional(option))
        snprintf(left, sizeof(left), "--%s[=%s]", option->name, option->metavar);
    else
        snprintf(left, sizeof(left), "--%s%s%s", option->name, option->metavar ? "=" : "",
                 option->metavar ? option->metavar : "");
    printf("  %-28s %s\n", left, option->help);
}

/* Whether the device has a choice there. */
static bool is_offered(const struct ob_program *program, const struct ob_option *option)
{
    if (option->apply == apply_wire)
        return !program->wire;
    const struct engine_ops *wire = NULL;
    if (option->apply != apply_dma)
        return true;
    if (program->wire)
        (void)wires_find(NULL, program->wire, &wire, NULL);
    return !program->needs_shared_memory && wires_use_messages("", &wire, NULL) == 0;
}

void options_print_help(const struct ob_program *program)
{
    printf("usage: %s (--fd=N | --socket-path=PATH) [OPTION...]\n%s\n\n", program->name,
           program->summary);
    for (const struct ob_option *option = program->options; option && option->name; option++)
        print_option(option);
    for (size_t i = 0; i < COMMON_COUNT; i++)
        if (is_offered(program, &common[i]))
            print_option(&common[i]);
    for (size_t i = 0; i < VERDICT_COUNT; i++)
        print_option(&(struct ob_option){.name = verdicts[i].name, .help = verdicts[i].help});
}

void options_print_version(const struct ob_program *program)
{
    if (program->version)
        printf("%s %s (Outboard %s)\n", program->name, program->version, OUTBOARD_VERSION);
    else
        printf("%s %s\n", program->name, OUTBOARD_VERSION);
}

void options_print_capabilities(const struct ob_program *program)
{
    printf("{\"type\": \"%s\", \"wires\": [", program->type);
    const char *separator = "";
    bool has_dma_messages = false;
    for (size_t i = 0; greeting_wires[i]; i++) {
        if (program->wire && strcmp(program->wire, greeting_wires[i]->wire) != 0)
            continue;
        if (greeting_wires[i]->only_virtio && !program->is_virtio)
            continue;
        printf("%s\"%s\"", separator, greeting_wires[i]->wire);
        separator = ", ";
        has_dma_messages |= greeting_wires[i]->has_dma_messages && !program->needs_shared_memory;
    }
    printf("], \"features\": [%s]}\n", has_dma_messages ? "\"dma-messages\"" : "");
}
