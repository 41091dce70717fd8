// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_client.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "command.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/socket.h"
#include "proxy/host_service.h"
#include "proxy/proxy.h"
#include "proxy/reason.h"
#include "proxy/serve.h"
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
    case 'j':
        return options->json = true;
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
    *ret_options = (struct client_options){.count = 1, .timeout_s = TIMEOUT_S};
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

/* Connects to a proxy's control socket. Returns the descriptor, or a negative errno. */
static int reach_control(const char *path, uint32_t timeout_s)
{
    struct address address;
    struct sockaddr_storage kernel;
    struct ob_fault fault = {0};
    /* A listener that accepts nobody holds connect(2) up for so long. 0 would be for ever. */
    const struct timeval timeout = {.tv_sec = timeout_s, .tv_usec = timeout_s ? 0 : 1};
    if (address_parse_path(path, &address, &fault) < 0)
        return -ENAMETOOLONG;
    int len = address_to_kernel(&address, &kernel);
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    closer_start(); /* without it, descriptors of a hostile proxy stay open */
    socket_refuse_fds(fd);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&kernel, (socklen_t)len) < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    return take_fd(&fd);
}

static int connect_control(struct client *client, const char *path, uint32_t timeout_s)
{
    int fd = reach_control(path, timeout_s);
    if (fd < 0) {
        client_say(client, "can't reach a proxy at %s: %s", path, strerror(-fd));
        return EXIT_NOT_REACHED;
    }
    client->fd = fd;
    client->control = path;
    return 0;
}

/* The child: a proxy whose only user is its parent. */
/* Standard input and output are the command's alone: who reads its output waits for the last one
 * that holds it. */
static int let_go_of_standard_fds(void)
{
    AUTO_FD fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return fd < 0 || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ? -errno : 0;
}

static int serve_parent(const struct proxy_options *options, int fd, pid_t parent)
{
    int status = EXIT_FAILURE;
    setsid();                  /* the keyboard's signals are for the command */
    unsetenv("NOTIFY_SOCKET"); /* who waits there waits for another program */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        return status;
    int err = options->channel.kind == CHANNEL_STDIO ? 0 : let_go_of_standard_fds();
    if (err < 0)
        return status;
    return serve_proxy(options, fd, NULL);
}

static int start_proxy(struct client *client, const struct client_options *options)
{
    int ends[2];
    struct ob_fault fault = {0};
    struct proxy_options proxy_options = {0};
    proxy_options.is_private = true;
    proxy_options.cell.how = CONFINE_DEFAULT;
    int err = channel_spec_parse(options->channel, &proxy_options.channel, &fault);
    int key_len = options->key_file && err == 0
                      ? key_file_read(options->key_file, proxy_options.key, &fault)
                      : 0;
    if (err < 0 || key_len < 0) {
        client_say(client, "%s", fault.text);
        return EXIT_USAGE;
    }
    proxy_options.key_len = (size_t)key_len;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return EXIT_NOT_REACHED;
    pid_t parent = getpid();
    client->proxy = fork();
    if (client->proxy == 0) {
        close(ends[0]);
        fcntl(ends[1], F_SETFL, O_NONBLOCK);
        exit(serve_parent(&proxy_options, ends[1], parent));
    }
    close(ends[1]);
    client->fd = ends[0];
    return client->proxy < 0 ? EXIT_NOT_REACHED : 0;
}

int client_open(const char *name, const struct client_options *options, struct client *ret_client)
{
    *ret_client =
        (struct client){.name = name,
                        .fd = -1,
                        .timeout_s = options->timeout_s,
                        .until_ns = clock_now_ns() + (uint64_t)options->timeout_s * NS_PER_S};
    return options->control ? connect_control(ret_client, options->control, options->timeout_s)
                            : start_proxy(ret_client, options);
}

void client_close(struct client *client)
{
    if (client->fd >= 0)
        socket_close(take_fd(&client->fd));
    if (client->proxy > 0) {
        kill(client->proxy, SIGTERM);
        waitpid(client->proxy, NULL, 0);
    }
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
    AUTO_FD fd = reach_control(client->control, 1);
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
