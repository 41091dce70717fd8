// SPDX-License-Identifier: BSD-3-Clause
/* outboard upgrade: another process of a device, perhaps of another program, while its VM runs. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "command.h"
#include "control_client.h"
#include "os/log.h"

struct upgrade_words {
    const char *vm, *device, *program; /* vm, program: NULL if not given */
};

static void print_help(void)
{
    puts("usage: outboard upgrade [--vm=NAME|PATH] [--program=PROGRAM] DEVICE\n"
         "\n"
         "Another process continues for that of DEVICE while the VM runs. If it refuses the\n"
         "device's state, the old one continues. DEVICE needs on-death = \"restart\".\n"
         "\n"
         "  --program=PROGRAM  a name or a path; default: the same program, read again\n"
         "  --vm=NAME|PATH     the machine, or its control socket; default: the only one");
}

/* The supervisor may have another current folder. */
static void put_program(struct json_out *out, const char *program)
{
    char room[PATH_MAX];
    bool is_path = strchr(program, '/') && realpath(program, room);
    json_out_member_string(out, "program", is_path ? room : program);
}

static int ask(struct control_client *client, const struct upgrade_words *words)
{
    struct json_out out;
    struct json_document *answer;
    const struct json *value;
    json_out_init(&out, LIMIT_MONITOR_REQUEST);
    json_out_begin(&out, '{');
    json_out_member_string(&out, "execute", "upgrade");
    json_out_name(&out, "arguments");
    json_out_begin(&out, '{');
    json_out_member_string(&out, "device", words->device);
    if (words->program)
        put_program(&out, words->program);
    json_out_end(&out, '}');
    json_out_end(&out, '}');
    json_out_bytes(&out, "\n", 1);
    int status = EXIT_FAILURE;
    if (json_out_done(&out) == 0)
        status = control_client_ask(client, out.bytes, out.len, &answer, &value);
    json_out_free(&out);
    if (status == 0)
        json_free(answer);
    return status;
}

static int run(const struct upgrade_words *words)
{
    struct control_client client;
    int status = control_client_open(words->vm, &client);
    if (status == 0)
        status = ask(&client, words);
    control_client_close(&client);
    return status;
}

int cmd_upgrade(int argc, char **argv)
{
    struct upgrade_words words = {0};
    if (log_start("outboard upgrade") < 0)
        return EXIT_FAILURE;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        if (strncmp(argv[i], "--vm=", 5) == 0 && argv[i][5]) {
            words.vm = argv[i] + 5;
        } else if (strncmp(argv[i], "--program=", 10) == 0 && argv[i][10]) {
            words.program = argv[i] + 10;
        } else if (argv[i][0] == '-' || words.device) {
            log_line("got '%s', expected [--vm=NAME|PATH] [--program=PROGRAM] DEVICE", argv[i]);
            return EXIT_USAGE;
        } else {
            words.device = argv[i];
        }
    }
    if (!words.device) {
        log_line("got no DEVICE; give one (`outboard ctl list` names them)");
        return EXIT_USAGE;
    }
    return run(&words);
}
