// SPDX-License-Identifier: BSD-3-Clause
/* outboard cells: the rights of running processes, as far as the kernel tells. */
#include <errno.h>
#include <limits.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "command.h"
#include "os/log.h"
#include "process_filter.h"
#include "process_status.h"

#define FILE_LEN  8192
#define VALUE_LEN 128
#define COLUMNS   80
#define INDENT    22

static void print_help(void)
{
    puts("usage: outboard cells PID...\n\n"
         "Prints the rights of each process, as far as the kernel tells: user, capabilities, "
         "limits,\n"
         "cgroup; and, to root alone, namespaces, open files, the label and the system calls that\n"
         "its filters allow. Nobody can read the rules of Landlock and of io_uring.");
}

static void print_row(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print_row(const char *name, const char *format, ...)
{
    va_list args;
    printf("  %-*s", INDENT - 2, name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static const char *unreadable(int err)
{
    return err == -EACCES || err == -EPERM ? "unknown: only root can read it" : strerror(-err);
}

/* The first word of a field that has several. */
static void print_field(const char *status, const char *key, const char *name)
{
    char value[VALUE_LEN];
    if (process_status_field(status, key, value, sizeof(value)) < 0)
        return;
    value[strcspn(value, "\t ")] = '\0';
    print_row(name, "%s", value);
}

static void print_capabilities(const char *status)
{
    static const char *const sets[] = {"CapPrm", "CapEff", "CapInh", "CapAmb"};
    char value[VALUE_LEN];
    bool any = false;
    printf("  %-*s", INDENT - 2, "capabilities");
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
        if (process_status_field(status, sets[i], value, sizeof(value)) == 0 &&
            strspn(value, "0") < strlen(value)) {
            printf("%s%s %s", any ? ", " : "", sets[i], value);
            any = true;
        }
    puts(any ? "" : "none");
}

static void print_privileges(const char *status)
{
    char value[VALUE_LEN] = "?";
    process_status_field(status, "NoNewPrivs", value, sizeof(value));
    print_row("privileges by exec", "%s", strcmp(value, "1") == 0 ? "none" : "can be gained");
}

static void print_limits(pid_t pid)
{
    static const struct {
        const char *line, *name;
    } rows[] = {
        {"Max open files", "most open files"},       {"Max processes", "most threads"},
        {"Max data size", "most private memory"},    {"Max core file size", "largest core file"},
        {"Max locked memory", "most locked memory"},
    };
    char limits[FILE_LEN], value[VALUE_LEN];
    ssize_t err = process_status_read(pid, "limits", limits, sizeof(limits));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (err < 0)
            print_row(rows[i].name, "%s", unreadable((int)err));
        else if (process_status_limit(limits, rows[i].line, value, sizeof(value)) == 0)
            print_row(rows[i].name, "%s", value);
    }
}

/* The first line of a file that has one. */
static void print_file(pid_t pid, const char *file, const char *name)
{
    char text[FILE_LEN];
    ssize_t err = process_status_read(pid, file, text, sizeof(text));
    if (err >= 0)
        text[strcspn(text, "\n")] = '\0';
    print_row(name, "%s", err == -EINVAL ? "none" : err < 0 ? unreadable((int)err) : text);
}

static void print_namespaces(pid_t pid)
{
    static const char *const all[] = {"user", "mnt", "net", "ipc", "uts", "cgroup", "pid"};
    char own[VALUE_LEN] = "", shared[VALUE_LEN] = "";
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        int has_own = process_status_has_own(pid, all[i]);
        if (has_own < 0) {
            print_row("namespaces", "%s", unreadable(has_own));
            return;
        }
        char *list = has_own ? own : shared;
        snprintf(list + strlen(list), VALUE_LEN - strlen(list), " %s", all[i]);
    }
    print_row("namespaces", "own:%s; shared with this command:%s", *own ? own : " none",
              *shared ? shared : " none");
}

static void print_files(pid_t pid)
{
    int count = process_status_count_files(pid);
    if (count < 0)
        print_row("open files", "%s", unreadable(count));
    else
        print_row("open files", "%d", count);
}

/* The names of the calls with this verdict, in as many lines as they need. */
static void print_calls(const struct process_filters *filters, enum process_filter_verdict verdict,
                        const char *name)
{
    unsigned column = INDENT;
    printf("  %-*s", INDENT - 2, name);
    for (int call = 0; call < PROCESS_FILTER_CALLS; call++) {
        char *word = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
        if (word && process_filters_judge(filters, call) == verdict) {
            unsigned len = (unsigned)strlen(word) + 1;
            if (column + len > COLUMNS) {
                printf("\n%*s", INDENT, "");
                column = INDENT;
            }
            printf("%s ", word);
            column += len;
        }
        free(word);
    }
    putchar('\n');
}

static void print_filters(pid_t pid, const char *status)
{
    struct process_filters filters;
    char mode[VALUE_LEN] = "0";
    process_status_field(status, "Seccomp", mode, sizeof(mode));
    if (strcmp(mode, "2") != 0) {
        print_row("system calls", "%s", strcmp(mode, "0") == 0 ? "all" : "read, write and exit");
        return;
    }
    int err = process_filters_read(pid, &filters);
    if (err < 0) {
        print_row("system calls", "filtered; which ones is %s", unreadable(err));
        return;
    }
    print_calls(&filters, PROCESS_FILTER_ALLOWED, "system calls");
    print_calls(&filters, PROCESS_FILTER_BY_ARGUMENT, "by argument");
    process_filters_done(&filters);
}

static int print_process(pid_t pid)
{
    char status[FILE_LEN], name[VALUE_LEN] = "?";
    ssize_t err = process_status_read(pid, "status", status, sizeof(status));
    if (err < 0) {
        log_line("process %d: got '%s', expected a running process; give its process id", (int)pid,
                 strerror((int)-err));
        return -1;
    }
    process_status_field(status, "Name", name, sizeof(name));
    printf("%d %s\n", (int)pid, name);
    print_field(status, "Uid", "user");
    print_field(status, "Gid", "group");
    print_capabilities(status);
    print_privileges(status);
    print_field(status, "Threads", "threads");
    print_limits(pid);
    print_file(pid, "cgroup", "cgroup");
    print_namespaces(pid);
    print_files(pid);
    print_file(pid, "attr/current", "label");
    print_filters(pid, status);
    print_row("Landlock, io_uring", "unknown: the kernel tells nobody");
    return 0;
}

int cmd_cells(int argc, char **argv)
{
    int status = EXIT_SUCCESS;
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        print_help();
        return EXIT_SUCCESS;
    }
    if (argc < 2) {
        log_line("give the process ids of running programs; `outboard cells --help` tells more");
        return EXIT_USAGE;
    }
    for (int i = 1; i < argc; i++) {
        uint64_t number;
        if (number_parse(argv[i], 10, INT_MAX, &number) < 0 || number == 0) {
            log_line("'%.40s' is not a process id", argv[i]);
            return EXIT_USAGE;
        }
    }
    for (int i = 1; i < argc; i++)
        if (print_process((pid_t)atoi(argv[i])) < 0)
            status = EXIT_FAILURE;
    return status;
}
