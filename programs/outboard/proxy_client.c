// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_client.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "client_cell.h"
#include "client_outside.h"
#include "command.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/host_service.h"
#include "proxy/reason.h"
#include "proxy/service.h"

#define TIMEOUT_S 10
#define LINE_LEN  600 /* of answers and messages */
#define NS_PER_S  1000000000u

/* Among the letters of a command that takes one word behind its options: SERVICE. */
#define WORD '.'
/* Likewise of one that takes a request: COMMAND [KEY=VALUE...]. */
#define REQUEST '*'
/* Likewise of outboard-agent, which calls its host: NAME [KEY=VALUE...]. */
#define CALL '!'

static const struct {
    char letter;
    const char *name;
    const char *metavar;
    const char *help;
} rows[] = {
    {'p', "control", "PATH", "use the proxy that listens there"},
    {'c', "channel", "CHANNEL", "run a proxy on this channel, for this command alone"},
    {'k', "key-file", "PATH", "with --channel: talk only to an end with the same key"},
    {'w', "timeout", "SECONDS", "time to wait for the other end (10)"},
    {'s', "service", "NAME", "run the command that the other end declares by this name"},
    {'t', "terminal", NULL, "give the command a terminal"},
    {'j', "json", NULL, "print JSON"},
    {'n', "count", "N", "number of pings (1)"},
    {'x', "cell", "HOW", "none; default: the parts that the kernel allows; required: all"},
    {'P', "print-cell", NULL, "enter the cell, print its parts, and end"},
};

#define ROW_COUNT ((int)(sizeof(rows) / sizeof(rows[0])))

static void print_help(const char *name, const char *letters)
{
    char left[64];
    bool is_agent = strchr(letters, REQUEST);
    if (strchr(letters, CALL))
        printf("usage: outboard-agent %s [OPTION...]%s\n\n", name,
               strcmp(name, "event") == 0 ? " NAME [KEY=VALUE...]" : "");
    else
        printf("usage: outboard %s%s [OPTION...]%s\n\n", is_agent ? "" : "proxy ", name,
               is_agent ? " COMMAND [KEY=VALUE...]\n       outboard agent [OPTION...] freeze "
                          "--for=SECONDS -- COMMAND [ARGUMENT...]"
               : strchr(letters, 't')  ? " [--] [COMMAND [ARGUMENT...]]"
               : strchr(letters, WORD) ? " SERVICE"
                                       : "");
    for (int i = 0; i < ROW_COUNT; i++) {
        if (!strchr(letters, rows[i].letter))
            continue;
        snprintf(left, sizeof(left), "-%c, --%s%s%s", rows[i].letter, rows[i].name,
                 rows[i].metavar ? "=" : "", rows[i].metavar ? rows[i].metavar : "");
        printf("  %-26s %s\n", left, rows[i].help);
    }
}

static bool apply(struct client_options *options, int letter)
{
    struct ob_fault fault = {0};
    switch (letter) {
    case 'p':
        options->control = optarg;
        return true;
    case 'c':
        options->channel = optarg;
        return true;
    case 'k':
        options->key_file = optarg;
        return true;
    case 's':
        options->service = optarg;
        return true;
    case 't':
        return options->terminal = true;
    case 'P':
        return options->print_cell = true;
    case 'j':
        return options->json = true;
    case 'x':
        return confine_parse_how(optarg, &options->cell, &fault) == 0;
    case 'w':
        return address_number(optarg, 1000000, &options->timeout_s) == 0;
    default:
        return address_number(optarg, 1000000, &options->count) == 0;
    }
}

int client_parse(int argc, char **argv, const char *letters, struct client_options *ret_options)
{
    struct option table[ROW_COUNT + 2] = {0};
    char short_options[2 * ROW_COUNT + 4] = "+:h";
    int count = 0;
    *ret_options =
        (struct client_options){.count = 1, .timeout_s = TIMEOUT_S, .cell = CONFINE_DEFAULT};
    table[count++] = (struct option){.name = "help", .val = 'h'};
    for (int i = 0; i < ROW_COUNT; i++) {
        if (!strchr(letters, rows[i].letter))
            continue;
        char text[3] = {rows[i].letter, rows[i].metavar ? ':' : '\0', '\0'};
        memcpy(short_options + strlen(short_options), text, sizeof(text));
        table[count++] = (struct option){
            .name = rows[i].name, .has_arg = rows[i].metavar ? 1 : 0, .val = rows[i].letter};
    }
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, short_options, table, NULL)) >= 0;) {
        if (letter == 'h') {
            print_help(argv[0], letters);
            return EXIT_SUCCESS;
        }
        if (letter == '?' || letter == ':' || !apply(ret_options, letter)) {
            log_line("got '%s', expected an option with its value; --help lists the options",
                     argv[optind - 1]);
            return EXIT_USAGE;
        }
    }
    if (ret_options->print_cell)
        return client_cell_print(ret_options->cell);
    ret_options->command = argv + optind;
    if (optind < argc && !strpbrk(letters, "t.*!")) {
        log_line("got '%s', expected an option; --help lists them", argv[optind]);
        return EXIT_USAGE;
    }
    if (!ret_options->control && strchr(letters, CALL))
        ret_options->control = AGENT_CONTROL;
    if (!ret_options->control == !ret_options->channel) {
        log_line("give --control=PATH or --channel=CHANNEL");
        return EXIT_USAGE;
    }
    return -1;
}

/* For the process: its cell, and the process outside, which outlive a connection. */
static struct outside {
    int fd;      /* 0: not started */
    int nothing; /* /dev/null */
    struct proxy_options proxy;
    struct client_target target;
} outside;

static int start_outside(void *argument)
{
    struct outside *own = argument;
    own->fd = client_outside_start(&own->target);
    own->nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return own->fd < 0 ? own->fd : own->nothing < 0 ? -errno : 0;
}

/* 0 or the exit status, once the reason was printed. */
static int read_channel(const struct client *client, const struct client_options *options)
{
    struct ob_fault fault = {0};
    struct proxy_options *proxy = &outside.proxy;
    proxy->is_private = true;
    proxy->cell.how = options->cell;
    int err = channel_spec_parse(options->channel, &proxy->channel, &fault);
    int key_len =
        options->key_file && err == 0 ? key_file_read(options->key_file, proxy->key, &fault) : 0;
    if (err < 0 || key_len < 0) {
        client_say(client, "%s", fault.text);
        return EXIT_USAGE;
    }
    proxy->key_len = (size_t)key_len;
    return 0;
}

/* Once in a process. 0 or the exit status, once the reason was printed. */
static int prepare(const struct client *client, const struct client_options *options)
{
    struct ob_fault fault = {0};
    if (outside.fd)
        return 0;
    int status = options->channel ? read_channel(client, options) : 0;
    if (status != 0)
        return status;
    outside.target = (struct client_target){.control = options->control,
                                            .proxy = options->channel ? &outside.proxy : NULL,
                                            .is_confined = options->cell != CONFINE_NONE};
    if (client_cell_enter(options->cell, start_outside, &outside, &fault) == 0)
        return 0;
    client_say(client, "%s", fault.text);
    return EXIT_NOT_REACHED;
}

int client_open(const char *name, const struct client_options *options, struct client *ret_client)
{
    struct client *client = ret_client;
    *client = (struct client){
        .name = name, .fd = -1, .control = options->control, .timeout_s = options->timeout_s};
    int status = prepare(client, options);
    if (status != 0)
        return status;
    client->nothing = outside.nothing;
    client_new_deadline(client);
    int fd = client_outside_connect(outside.fd, options->timeout_s);
    if (fd >= 0)
        client->fd = fd;
    else if (options->control)
        client_say(client, "can't reach a proxy at %s: %s", options->control, strerror(-fd));
    return fd < 0 ? EXIT_NOT_REACHED : 0;
}

void client_close(struct client *client)
{
    if (client->fd >= 0)
        socket_close(take_fd(&client->fd));
    if (outside.fd > 0 && !client->control)
        client_outside_hang_up(outside.fd);
}

/* Reads up to the newline, and not a byte more: a stream may follow. */
static ssize_t read_line(int fd, uint64_t until_ns, char *ret_line, size_t size)
{
    size_t len = 0;
    while (len + 1 < size) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_now_ns();
        int count = poll(&ready, 1, now < until_ns ? (int)((until_ns - now) / 1000000 + 1) : 0);
        if (count == 0)
            return -ETIMEDOUT;
        ssize_t got = count < 0 ? -1 : socket_read(fd, &ret_line[len], 1);
        if (got <= 0)
            return got < 0 && errno != ECONNRESET ? -errno : -ENOTCONN;
        if (ret_line[len] == '\n') {
            ret_line[len] = '\0';
            return (ssize_t)len;
        }
        len++;
    }
    return -EPROTO;
}

/* The proxy's words about the channel: the first line of its status, which is "down: ...". False if
 * it says nothing of that kind; a proxy of our own has told already. */
static bool ask_why(const struct client *client, char ret_why[LINE_LEN])
{
    if (!client->control)
        return false;
    AUTO_FD fd = client_outside_connect(outside.fd, 1);
    char line[LINE_LEN];
    if (fd < 0 || dprintf(fd, "STATUS\n") < 0 ||
        read_line(fd, clock_now_ns() + NS_PER_S, line, sizeof(line)) < 0 ||
        strncmp(line, "down: ", 6) != 0)
        return false;
    memcpy(ret_why, line + 6, strlen(line + 6) + 1);
    return true;
}

static void say_timeout(const struct client *client)
{
    char why[LINE_LEN];
    if (ask_why(client, why))
        client_say(client, "the other end has not answered within %u s: %s", client->timeout_s,
                   why);
    else
        client_say(client, "the other end has not answered within %u s", client->timeout_s);
}

void client_new_deadline(struct client *client)
{
    client->until_ns = clock_now_ns() + (uint64_t)client->timeout_s * NS_PER_S;
}

ssize_t client_ask(struct client *client, const char *question, char *ret_answer, size_t size)
{
    dprintf(client->fd, "%s\n", question); /* where it fails, there is an answer all the same */
    ssize_t len = read_line(client->fd, client->until_ns, ret_answer, size);
    if (len == -ETIMEDOUT)
        say_timeout(client);
    else if (len < 0)
        client_say(client, "the proxy has gone: %s", strerror((int)-len));
    else if (strncmp(ret_answer, "ERROR ", 6) == 0)
        client_say(client, "%s", ret_answer + 6);
    else if (strncmp(ret_answer, "DOWN ", 5) == 0)
        client_say(client, "%s", ret_answer + 5);
    else
        return len;
    return -1;
}

int client_open_stream(struct client *client, const char *verb, const char *service,
                       uint32_t *ret_reason)
{
    char question[300], answer[300];
    if (snprintf(question, sizeof(question), "%s %s", verb, service) >= (int)sizeof(question) ||
        strlen(service) > OB_SESSION_SERVICE_MAX || strpbrk(service, "\n")) {
        client_say(client, "service: got '%.100s', expected a name of 1 to %d bytes", service,
                   OB_SESSION_SERVICE_MAX);
        return EXIT_USAGE;
    }
    if (client_ask(client, "WAIT", answer, sizeof(answer)) < 0 ||
        client_ask(client, question, answer, sizeof(answer)) < 0)
        return EXIT_NOT_REACHED;
    if (strcmp(answer, "OK") == 0)
        return 0;
    if (sscanf(answer, "REFUSED %" SCNu32, ret_reason) != 1 || *ret_reason == OB_REASON_NONE)
        client_say(client, "the proxy answers '%.100s'", answer);
    return EXIT_NOT_REACHED;
}

void client_say_refusal(const struct client *client, const char *service, uint32_t reason)
{
    bool is_run = strcmp(client->name, "run") == 0;
    if (strcmp(service, AGENT_SERVICE) == 0 &&
        (reason == OB_REASON_NO_SERVICE || reason == OB_REASON_FORBIDDEN))
        client_say(client, "the other end has no agent; start outboard-agent there, or "
                           "outboard-proxy with --allow-agent");
    else if (strcmp(service, HOST_SERVICE) == 0 && reason == OB_REASON_NO_SERVICE)
        client_say(client, "the host wants no events; start its outboard proxy with --events");
    else if (reason == OB_REASON_NO_SERVICE)
        client_say(client, "the other end has no service '%s'%s", service,
                   is_run ? " that is a command" : "");
    else if (reason == OB_REASON_FORBIDDEN && is_run)
        client_say(client,
                   "not allowed: the other end runs no commands; start it with --allow-run");
    else if (reason == OB_REASON_FORBIDDEN)
        client_say(client,
                   "not allowed: the other end does not connect to %s; start it with "
                   "--allow-connect=HOST:PORT",
                   service);
    else
        client_say(client, "%s: %s", service, reason_text(reason));
}
