// SPDX-License-Identifier: BSD-3-Clause
/* outboard ctl: commands for a running `outboard run`. */
#include "ctl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "command.h"
#include "os/log.h"

struct ctl {
    const char *vm; /* NULL: the only one */
    bool json;
    char **words; /* the command and its arguments, NULL at the end */
};

static void print_help(void)
{
    puts("usage: outboard ctl [--vm=NAME|PATH] [--json] COMMAND [ARGUMENT...]\n"
         "\n"
         "Commands for a machine that `outboard run` has started:\n"
         "\n"
         "  machines                       the running machines of this user\n"
         "  list                           devices: state, process, policy\n"
         "  status                         the machine: state, processes, pauses\n"
         "  stats [DEVICE]                 requests, bytes, polls, wakes\n"
         "  prometheus                     statistics in Prometheus' text format\n"
         "  events                         print events until the machine ends\n"
         "  add DEVICE program=P [KEY=VALUE...]  start a device and plug it in\n"
         "  remove DEVICE                  unplug a device and end it\n"
         "  policy DEVICE on-hang=POLICY   fail, kill, pause or restart\n"
         "  reset DEVICE                   as after power on\n"
         "  trace DEVICE on [file=PATH]    a line for each message, to a file or the log\n"
         "  trace DEVICE off               no more\n"
         "  upgrade DEVICE [program=P]     let another process continue for it\n"
         "  pause, resume                  the VM, by QMP\n"
         "  quit                           end the machine, as SIGTERM does\n"
         "\n"
         "  --vm=NAME|PATH  the machine, or its control socket; default: the only one\n"
         "  --json          print answers as JSON");
}

static void print_json(const struct json *value)
{
    struct json_out out;
    json_out_init(&out, LIMIT_MONITOR_ANSWER);
    json_out_value(&out, value);
    if (json_out_done(&out) == 0) {
        fwrite(out.bytes, 1, out.len, stdout);
        putchar('\n');
        fflush(stdout);
    }
    json_out_free(&out);
}

static int usage(const char *expected)
{
    log_line("expected %s (`outboard ctl --help` tells more)", expected);
    return EXIT_USAGE;
}

/* Arguments of the words: DEVICE first, of `trace` STATE, then KEY=VALUE; those of `add` but program
 * are options. */
static int put_words(struct json_out *out, const char *command, char **words)
{
    bool adds = strcmp(command, "add") == 0, traces = strcmp(command, "trace") == 0;
    bool in_options = false;
    char path[PATH_MAX];
    for (char **word = words; *word; word++) {
        char *value = strchr(*word, '=');
        if (word - words < (traces ? 2 : 1) && !value) {
            json_out_member_string(out, word == words ? "device" : "state", *word);
            continue;
        }
        if (!value)
            return usage("DEVICE, then KEY=VALUE");
        *value++ = '\0';
        if (adds && strcmp(*word, "program") != 0 && !in_options) {
            json_out_name(out, "options");
            json_out_begin(out, '{');
            in_options = true;
        }
        if (in_options && strcmp(*word, "program") == 0)
            return usage("program= before other keys");
        if (traces && strcmp(*word, "file") == 0 && value[0] != '/' && getcwd(path, sizeof(path))) {
            strncat(path, "/", sizeof(path) - strlen(path) - 1);
            strncat(path, value, sizeof(path) - strlen(path) - 1);
            value = path; /* the machine may be in another folder */
        }
        json_out_member_string(out, *word, value);
    }
    if (in_options)
        json_out_end(out, '}');
    return 0;
}

static int ask(struct control_client *client, const struct ctl *ctl)
{
    struct json_out out;
    struct json_document *answer;
    const struct json *value;
    json_out_init(&out, LIMIT_MONITOR_REQUEST);
    json_out_begin(&out, '{');
    json_out_member_string(&out, "execute", ctl->words[0]);
    json_out_name(&out, "arguments");
    json_out_begin(&out, '{');
    int status = put_words(&out, ctl->words[0], ctl->words + 1);
    json_out_end(&out, '}');
    json_out_end(&out, '}');
    json_out_bytes(&out, "\n", 1);
    if (status == 0 && json_out_done(&out) < 0)
        status = usage("fewer bytes of arguments");
    if (status == 0)
        status = control_client_ask(client, out.bytes, out.len, &answer, &value);
    json_out_free(&out);
    if (status != 0)
        return status;
    if (ctl->json)
        print_json(value);
    else
        ctl_print(value);
    json_free(answer);
    return 0;
}

static int follow_events(struct control_client *client, bool json)
{
    static const char request[] =
        "{\"execute\": \"capabilities\", \"arguments\": {\"enable\": [\"events\"]}}\n";
    struct json_document *message;
    const struct json *value;
    int status = control_client_ask(client, request, strlen(request), &message, &value);
    while (status == 0) {
        json_free(message);
        status = control_client_next(client, -1, &message);
        if (status == 0 && json)
            print_json(json_root(message));
        else if (status == 0)
            ctl_print_event(json_root(message));
    }
    return status == CONTROL_OVER ? EXIT_SUCCESS : status;
}

static int prometheus(struct control_client *client)
{
    static const char *const commands[] = {"stats", "list", "status"};
    struct json_document *answers[3] = {NULL};
    const struct json *values[3];
    int status = 0;
    for (int i = 0; i < 3 && status == 0; i++)
        status = control_client_command(client, commands[i], &answers[i], &values[i]);
    if (status == 0 && (!control_is_table(values[0]) || !control_is_table(values[1])))
        status = EXIT_FAILURE;
    if (status == 0)
        ctl_print_prometheus(client->machine, values[0], values[1], values[2]);
    for (int i = 0; i < 3; i++)
        json_free(answers[i]);
    return status;
}

static void print_machine(struct control_client *client, const char *path, void *argument)
{
    printf("%s  %s\n", client->machine, path);
}

static int run(const struct ctl *ctl)
{
    struct control_client client;
    if (strcmp(ctl->words[0], "machines") == 0) {
        control_client_each(print_machine, NULL);
        return EXIT_SUCCESS;
    }
    int status = control_client_open(ctl->vm, &client);
    if (status == 0) {
        if (strcmp(ctl->words[0], "events") == 0)
            status = follow_events(&client, ctl->json);
        else if (strcmp(ctl->words[0], "prometheus") == 0)
            status = prometheus(&client);
        else
            status = ask(&client, ctl);
    }
    control_client_close(&client);
    return status;
}

int cmd_ctl(int argc, char **argv)
{
    struct ctl ctl = {0};
    int i = 1;
    if (log_start("outboard ctl") < 0)
        return EXIT_FAILURE;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        if (strcmp(argv[i], "--json") == 0) {
            ctl.json = true;
        } else if (strncmp(argv[i], "--vm=", 5) == 0 && argv[i][5]) {
            ctl.vm = argv[i] + 5;
        } else {
            log_line("got '%s', expected [--vm=NAME|PATH] [--json] COMMAND", argv[i]);
            return EXIT_USAGE;
        }
    }
    ctl.words = argv + i;
    if (!ctl.words[0]) {
        log_line("got no COMMAND; give one (`outboard ctl --help` lists them)");
        return EXIT_USAGE;
    }
    return run(&ctl);
}
