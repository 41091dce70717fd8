// SPDX-License-Identifier: BSD-3-Clause
/* The system, its clock and its users. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <utmpx.h>

#include "agent/command.h"
#include "agent/helper.h"
#include "base/auto.h"
#include "base/limits.h"
#include "base/number.h"

#define NS_PER_S     1000000000ll
#define SYSLOG_READ  3 /* SYSLOG_ACTION_READ_ALL of syslog(2) */
#define SYSLOG_SIZE  10
#define SESSIONS     "/run/systemd/sessions"
#define FILE_MAX_LEN 16384

static int do_nothing(struct job *job)
{
    return 0;
}

static int sync_ids(struct job *job)
{
    json_out_int(&job->out, job_int(job->arguments, "id", 0));
    return 0;
}

static int get_host_name(struct job *job)
{
    char name[256];
    if (gethostname(name, sizeof(name)) < 0)
        return job_fail(job, "failed to get hostname: %s", strerror(errno));
    json_out_begin(&job->out, '{');
    json_out_member_string(&job->out, "host-name", name);
    json_out_end(&job->out, '}');
    return 0;
}

static int get_time(struct job *job)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_out_int(&job->out, now.tv_sec * NS_PER_S + now.tv_nsec);
    return 0;
}

static int run_hwclock(struct job *job, const char *option)
{
    char *const argv[] = {"hwclock", (char *)option, NULL};
    struct helper_result result;
    int err = helper_run(argv, NULL, 0, &result);
    if (err < 0)
        return job_fail(job, "can't run hwclock: %s", strerror(-err));
    return result.status == 0 ? 0
                              : job_fail(job,
                                         "hwclock failed to set hardware clock to system "
                                         "time: %.200s",
                                         result.output);
}

/* Without a time, the hardware clock is right: a guest that was suspended knows it from there. */
static int set_time(struct job *job)
{
    const struct json *time = json_member(job->arguments, "time");
    if (!time)
        return run_hwclock(job, "-s");
    if (time->integer < 0 || time->integer / NS_PER_S > UINT32_MAX)
        return job_fail(job, "Time %" PRId64 " is out of range", time->integer);
    const struct timespec at = {time->integer / NS_PER_S, time->integer % NS_PER_S};
    if (clock_settime(CLOCK_REALTIME, &at) < 0)
        return job_fail(job, "Failed to set time to guest: %s", strerror(errno));
    return run_hwclock(job, "-w");
}

static int get_timezone(struct job *job)
{
    char zone[64];
    time_t now = time(NULL);
    struct tm local;
    tzset();
    localtime_r(&now, &local);
    json_out_begin(&job->out, '{');
    if (strftime(zone, sizeof(zone), "%Z", &local) > 0)
        json_out_member_string(&job->out, "zone", zone);
    json_out_member_int(&job->out, "offset", local.tm_gmtoff);
    json_out_end(&job->out, '}');
    return 0;
}

static int get_load(struct job *job)
{
    static const char *const names[] = {"load1m", "load5m", "load15m"};
    double load[3];
    if (getloadavg(load, 3) != 3)
        return job_fail(job, "can't read the load");
    json_out_begin(&job->out, '{');
    for (int i = 0; i < 3; i++) {
        json_out_name(&job->out, names[i]);
        json_out_real(&job->out, load[i]);
    }
    json_out_end(&job->out, '}');
    return 0;
}

/* A value of os-release(5), in place: quotes and backslashes go, as in a shell. */
static char *unquote(char *value)
{
    char quote = *value == '"' || *value == '\'' ? *value : '\0';
    char *from = quote ? value + 1 : value;
    char *to = value;
    for (; *from && *from != quote; from++) {
        if (*from == '\\' && quote != '\'' && from[1])
            from++;
        *to++ = *from;
    }
    *to = '\0';
    return value;
}

/* The value of a variable in the lines of a file, or NULL; text is cut there. */
static char *find_line(char *text, const char *name)
{
    size_t len = strlen(name);
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == '=') {
            line[len + 1 + strcspn(line + len + 1, "\n")] = '\0';
            return line + len + 1;
        }
    }
    return NULL;
}

static void put_release(struct json_out *out, const char *text)
{
    static const char *const names[][2] = {
        {"ID", "id"},
        {"NAME", "name"},
        {"PRETTY_NAME", "pretty-name"},
        {"VERSION", "version"},
        {"VERSION_ID", "version-id"},
        {"VARIANT", "variant"},
        {"VARIANT_ID", "variant-id"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        AUTO_FREE char *copy = strdup(text);
        char *value = copy ? find_line(copy, names[i][0]) : NULL;
        if (value)
            json_out_member_string(out, names[i][1], unquote(value));
    }
}

static int get_osinfo(struct job *job)
{
    char text[FILE_MAX_LEN];
    struct utsname kernel;
    json_out_begin(&job->out, '{');
    if (uname(&kernel) == 0) {
        json_out_member_string(&job->out, "kernel-release", kernel.release);
        json_out_member_string(&job->out, "kernel-version", kernel.version);
        json_out_member_string(&job->out, "machine", kernel.machine);
    }
    const char *path = getenv("QGA_OS_RELEASE"); /* as qemu-ga has it, for tests */
    if (path ? job_read_file(path, text, sizeof(text)) >= 0
             : job_read_file("/etc/os-release", text, sizeof(text)) >= 0 ||
                   job_read_file("/usr/lib/os-release", text, sizeof(text)) >= 0)
        put_release(&job->out, text);
    json_out_end(&job->out, '}');
    return 0;
}

/* Who is logged in, each once, with the earliest log-in. */
struct users {
    struct user {
        char name[64];
        double since_s;
    } user[256];
    size_t count;
};

static void add_user(struct users *users, const char *name, double since_s)
{
    for (size_t i = 0; i < users->count; i++) {
        if (strcmp(users->user[i].name, name) != 0)
            continue;
        if (since_s < users->user[i].since_s)
            users->user[i].since_s = since_s;
        return;
    }
    if (users->count == sizeof(users->user) / sizeof(users->user[0]))
        return;
    struct user *user = &users->user[users->count++];
    snprintf(user->name, sizeof(user->name), "%s", name);
    user->since_s = since_s;
}

static const char *value_of(const char *text, const char *name, char ret_value[64])
{
    AUTO_FREE char *copy = strdup(text);
    char *value = copy ? find_line(copy, name) : NULL;
    snprintf(ret_value, 64, "%s", value ? value : "");
    return ret_value;
}

static void add_session(struct users *users, const char *text)
{
    char name[64], class[64], since[64], state[64];
    uint64_t since_us;
    value_of(text, "USER", name);
    value_of(text, "CLASS", class);
    value_of(text, "STATE", state);
    if (number_parse(value_of(text, "REALTIME", since), 10, UINT64_MAX, &since_us) < 0)
        return;
    if (*name && strcmp(class, "user") == 0 && strcmp(state, "closing") != 0)
        add_user(users, name, (double)since_us / 1e6);
}

/* False: there is no logind. */
static bool add_sessions(struct users *users)
{
    char path[300], text[FILE_MAX_LEN];
    DIR *folder = opendir(SESSIONS);
    if (!folder)
        return false;
    for (struct dirent *entry; (entry = readdir(folder));) {
        snprintf(path, sizeof(path), SESSIONS "/%s", entry->d_name);
        /* Beside the file of a session stands a pipe, whose reader would wait for the session's end. */
        if (entry->d_type == DT_REG && job_read_file(path, text, sizeof(text)) >= 0)
            add_session(users, text);
    }
    closedir(folder);
    return true;
}

static void add_utmp(struct users *users)
{
    char name[sizeof(((struct utmpx *)NULL)->ut_user) + 1];
    setutxent();
    for (const struct utmpx *entry; (entry = getutxent());) {
        if (entry->ut_type != USER_PROCESS)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)sizeof(entry->ut_user), entry->ut_user);
        add_user(users, name, (double)entry->ut_tv.tv_sec + (double)entry->ut_tv.tv_usec / 1e6);
    }
    endutxent();
}

static int get_users(struct job *job)
{
    static struct users users;
    users.count = 0;
    if (!add_sessions(&users))
        add_utmp(&users);
    json_out_begin(&job->out, '[');
    for (size_t i = 0; i < users.count; i++) {
        json_out_begin(&job->out, '{');
        json_out_member_string(&job->out, "user", users.user[i].name);
        json_out_name(&job->out, "login-time");
        json_out_real(&job->out, users.user[i].since_s);
        json_out_end(&job->out, '}');
    }
    json_out_end(&job->out, ']');
    return 0;
}

/* The kernel's messages, as dmesg --raw has them. */
static int get_dmesg(struct job *job)
{
    int size = klogctl(SYSLOG_SIZE, NULL, 0);
    AUTO_FREE char *text = size > 0 ? malloc((size_t)size) : NULL;
    int len = text ? klogctl(SYSLOG_READ, text, size) : -1;
    if (len < 0)
        return job_fail(job, "can't read the kernel's messages: %s", strerror(errno));
    json_out_begin(&job->out, '{');
    json_out_name(&job->out, "messages");
    json_out_text(&job->out, text, (size_t)len);
    json_out_end(&job->out, '}');
    return 0;
}

static const struct argument id_arguments[] = {{"id", ARGUMENT_INT, false}, {0}};
static const struct argument time_arguments[] = {{"time", ARGUMENT_INT, true}, {0}};

#define ALWAYS COMMAND_WHILE_FROZEN
#define QUICK  LIMIT_AGENT_QUICK_S

const struct command commands_system[] = {
    {.name = "guest-sync-delimited",
     .arguments = id_arguments,
     .flags = ALWAYS | COMMAND_DELIMITED,
     .run = sync_ids},
    {.name = "guest-sync", .arguments = id_arguments, .flags = ALWAYS, .run = sync_ids},
    {.name = "guest-info", .flags = ALWAYS},
    {.name = "guest-hello", .flags = ALWAYS},
    {.name = "guest-ping", .flags = ALWAYS, .run = do_nothing},
    {.name = "guest-get-osinfo", .limit_s = QUICK, .run = get_osinfo},
    {.name = "guest-get-host-name", .run = get_host_name},
    {.name = "guest-get-time", .run = get_time},
    {.name = "guest-set-time",
     .arguments = time_arguments,
     .limit_s = LIMIT_AGENT_HELPER_S,
     .run = set_time},
    {.name = "guest-get-timezone", .limit_s = QUICK, .run = get_timezone},
    {.name = "guest-get-users", .limit_s = QUICK, .run = get_users},
    {.name = "guest-get-load", .run = get_load},
    {.name = "guest-get-dmesg", .limit_s = QUICK, .run = get_dmesg},
    {0}};
