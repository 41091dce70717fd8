// SPDX-License-Identifier: BSD-3-Clause
/* outboard top: a live table of a machine's devices. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/number.h"
#include "command.h"
#include "control_client.h"
#include "os/clock.h"
#include "os/log.h"
#include "top_rates.h"

#define ENTER_SCREEN "\x1b[?1049h\x1b[?25l"
#define LEAVE_SCREEN "\x1b[?25h\x1b[?1049l"
#define HOME         "\x1b[H"
#define CLEAR_LINE   "\x1b[K"
#define CLEAR_REST   "\x1b[J"
#define LINE_MAX_LEN 256
#define NS_PER_S     1e9

struct top {
    struct control_client client;
    struct top_sample earlier[LIMIT_DEVICES];
    unsigned earlier_count;
    uint64_t earlier_ns;
    bool terminal; /* standard output is one */
    bool once;
    unsigned interval_ms;
    struct termios saved;
    bool has_saved;
};

static void print_help(void)
{
    puts("usage: outboard top [--vm=NAME|PATH] [--interval-ms=N] [--once]\n"
         "\n"
         "Shows the devices of a machine that `outboard run` has started, and what they do.\n"
         "The key q ends it. Without a terminal, each table follows the one before.\n"
         "\n"
         "  --vm=NAME|PATH   the machine, or its control socket; default: the only one\n"
         "  --interval-ms=N  time between two tables, from 100 to 60000 (default 1000)\n"
         "  --once           print one table and end");
}

static int columns(const struct top *top)
{
    struct winsize size;
    if (!top->terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return LINE_MAX_LEN - 1;
    return size.ws_col < LINE_MAX_LEN ? size.ws_col : LINE_MAX_LEN - 1;
}

static void put_line(const struct top *top, const char *line)
{
    printf("%.*s%s\n", columns(top), line, top->terminal ? CLEAR_LINE : "");
}

static const struct top_sample *find_earlier(const struct top *top, const char *device)
{
    for (unsigned i = 0; i < top->earlier_count; i++)
        if (strcmp(top->earlier[i].device, device) == 0)
            return &top->earlier[i];
    return NULL;
}

static void print_device(const struct top *top, const struct json *about,
                         const struct top_sample *sample, double seconds)
{
    char line[LINE_MAX_LEN], room[9][8], state[16];
    struct top_sample difference = *sample;
    const struct top_sample *earlier = find_earlier(top, sample->device);
    if (earlier)
        top_sample_subtract(&difference, earlier);
    snprintf(line, sizeof(line), "%-16.16s %-8s %7llu %6s %6s %6s %6s %6s %6s %6s %6s %6s",
             sample->device, control_printable(about, "state", state, sizeof(state)),
             (unsigned long long)control_number(about, "pid"),
             top_number((double)difference.requests / seconds, room[0]),
             top_number((double)difference.reads / seconds, room[1]),
             top_number((double)difference.bytes_read / seconds, room[2]),
             top_number((double)difference.writes / seconds, room[3]),
             top_number((double)difference.bytes_written / seconds, room[4]),
             top_time(top_percentile(&difference, 50), room[5]),
             top_time(top_percentile(&difference, 99), room[6]),
             top_number((double)difference.polls / seconds, room[7]),
             top_number((double)difference.wakes / seconds, room[8]));
    put_line(top, line);
}

static void print_head(const struct top *top, const struct json *status)
{
    char line[LINE_MAX_LEN], state[16];
    snprintf(line, sizeof(line), "outboard top: %.60s, %s, up %llu s, paused %llu times",
             top->client.machine, control_printable(status, "state", state, sizeof(state)),
             (unsigned long long)control_number(status, "uptime-ms") / 1000,
             (unsigned long long)control_number(status, "pauses"));
    put_line(top, line);
    put_line(top, "");
    put_line(top, "DEVICE           STATE        PID  MSG/s READ/s    B/s  WRT/s    B/s    50%    "
                  "99% POLL/s WAKE/s");
}

static void print_table(struct top *top, const struct json *stats, const struct json *list,
                        const struct json *status)
{
    struct top_sample samples[LIMIT_DEVICES] = {0};
    unsigned count = 0;
    uint64_t now_ns = clock_now_ns();
    double seconds = top->earlier_ns ? (double)(now_ns - top->earlier_ns) / NS_PER_S
                                     : (double)control_number(status, "uptime-ms") / 1000 + 0.001;
    fputs(top->terminal ? HOME : "", stdout);
    print_head(top, status);
    const struct json *about = list->first;
    for (const struct json *row = stats->first; row && about && count < LIMIT_DEVICES;
         row = row->next, about = about->next) {
        top_sample_read(row, &samples[count]);
        print_device(top, about, &samples[count++], seconds);
    }
    fputs(top->terminal ? CLEAR_REST : "", stdout);
    fflush(stdout);
    memcpy(top->earlier, samples, count * sizeof(samples[0]));
    top->earlier_count = count;
    top->earlier_ns = now_ns;
}

static int show(struct top *top)
{
    static const char *const commands[] = {"stats", "list", "status"};
    struct json_document *answers[3] = {NULL};
    const struct json *values[3];
    int status = 0;
    for (int i = 0; i < 3 && status == 0; i++)
        status = control_client_command(&top->client, commands[i], &answers[i], &values[i]);
    if (status == 0 && (!control_is_table(values[0]) || !control_is_table(values[1])))
        status = EXIT_FAILURE;
    if (status == 0)
        print_table(top, values[0], values[1], values[2]);
    for (int i = 0; i < 3; i++)
        json_free(answers[i]);
    return status;
}

/* Waits for the next table. Whether there is to be one. */
static bool rest(const struct top *top)
{
    struct pollfd ready[] = {{.fd = top->client.stop_fd, .events = POLLIN},
                             {.fd = top->has_saved ? STDIN_FILENO : -1, .events = POLLIN}};
    char byte = 0;
    poll(ready, 2, (int)top->interval_ms);
    if (ready[0].revents || (ready[1].revents && read(STDIN_FILENO, &byte, 1) <= 0))
        return false;
    return byte != 'q';
}

/* A descriptor that SIGINT and SIGTERM make readable, so that they end any wait, also for a server that
 * does not answer. */
static int open_stop(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static bool was_stopped(const struct top *top)
{
    struct pollfd stop = {.fd = top->client.stop_fd, .events = POLLIN};
    return poll(&stop, 1, 0) > 0;
}

/* Keys come one by one and are not shown. */
static void enter_screen(struct top *top)
{
    if (!top->terminal || top->once)
        return;
    fputs(ENTER_SCREEN, stdout);
    if (tcgetattr(STDIN_FILENO, &top->saved) < 0)
        return;
    struct termios raw = top->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    top->has_saved = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void leave_screen(const struct top *top)
{
    if (!top->terminal || top->once)
        return;
    fputs(LEAVE_SCREEN, stdout);
    fflush(stdout);
    if (top->has_saved)
        tcsetattr(STDIN_FILENO, TCSANOW, &top->saved);
}

static int run(struct top *top, const char *vm)
{
    int status = control_client_open(vm, &top->client);
    if (status != 0)
        return status;
    AUTO_FD stop_fd = open_stop();
    if (stop_fd < 0) {
        log_line("can't watch signals: %s", strerror(errno));
        control_client_close(&top->client);
        return EXIT_FAILURE;
    }
    top->client.stop_fd = stop_fd;
    top->terminal = isatty(STDOUT_FILENO) && !top->once;
    log_hold(top->terminal); /* a line would go with the screen */
    enter_screen(top);
    do
        status = show(top);
    while (status == 0 && !top->once && rest(top));
    if (was_stopped(top))
        status = EXIT_SUCCESS;
    leave_screen(top);
    log_hold(false);
    control_client_close(&top->client);
    return status;
}

int cmd_top(int argc, char **argv)
{
    static const char vm_option[] = "--vm=", interval_option[] = "--interval-ms=";
    struct top top = {.interval_ms = 1000};
    const char *vm = NULL;
    uint64_t number;
    if (log_start("outboard top") < 0)
        return EXIT_FAILURE;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        if (strcmp(argv[i], "--once") == 0) {
            top.once = true;
        } else if (strncmp(argv[i], vm_option, strlen(vm_option)) == 0) {
            vm = argv[i] + strlen(vm_option);
        } else if (strncmp(argv[i], interval_option, strlen(interval_option)) == 0 &&
                   number_parse(argv[i] + strlen(interval_option), 10, 60000, &number) == 0 &&
                   number >= 100) {
            top.interval_ms = (unsigned)number;
        } else {
            log_line("got '%s', expected [--vm=NAME|PATH] [--interval-ms=N] [--once]", argv[i]);
            return EXIT_USAGE;
        }
    }
    return run(&top, vm);
}
