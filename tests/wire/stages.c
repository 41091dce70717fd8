// SPDX-License-Identifier: BSD-3-Clause
/*
 * A program that tells its stages on standard error, for tests/wire/test_stages.py.
 *
 * At create() it has the kernel kill it for opening a path, connecting or starting a program, in
 * all of its threads: what it does later shows that it had all that open.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <outboard/program.h>

#define FORBID(nr)                                                                                 \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1),                                               \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

struct config {
    const char *fails; /* the stage that fails, or NULL */
};

static int apply_fails(void *argument, const char *value, struct ob_fault *fault)
{
    struct config *config = argument;
    config->fails = value;
    return 0;
}

/* Threads of this process, as the kernel counts them; -1: it does not say. */
static int count_threads(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    int count = -1;
    while (file && count < 0 && fgets(line, sizeof(line), file))
        sscanf(line, "Threads: %d", &count);
    if (file)
        fclose(file);
    return count;
}

static int forbid_paths(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_open
        FORBID(SYS_open),
#endif
        FORBID(SYS_openat),
        FORBID(SYS_openat2),
        FORBID(SYS_connect),
        FORBID(SYS_execve),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        return -errno;
    return 0;
}

static int open_all(void *argument, struct ob_fault *fault)
{
    const struct config *config = argument;
    ob_log("open with %d thread", count_threads());
    return config->fails && strcmp(config->fails, "open") == 0 ? -ENODATA : 0;
}

static uint64_t read_register(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    return 0;
}

static void write_register(void *state, unsigned bar, uint64_t offset, unsigned size,
                           uint64_t value)
{
}

static int create(void *argument, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .read = read_register, .write = write_register};
    const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "stages",
        .vendor_id = 0x1af4,
        .device_id = 0x10fe,
        .class_code = 0xff0000,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096}},
    };
    struct config *config = argument;
    ob_log("create");
    if (config->fails && strcmp(config->fails, "create") == 0)
        return -ENODATA;
    int err = forbid_paths();
    return err < 0 ? ob_fault_set(fault, err, "no filter: %s", strerror(-err))
                   : ob_device_new(&desc, &ops, config, ret_device, fault);
}

static void destroy(void *argument)
{
    ob_log("destroy");
}

static void close_all(void *argument)
{
    ob_log("close");
}

int main(int argc, char **argv)
{
    static const struct ob_option options[] = {
        {"fails", "STAGE", "open or create", apply_fails},
        {0},
    };
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "stages",
        .summary = "Tells its stages.",
        .type = "stages",
        .options = options,
        .open = open_all,
        .create = create,
        .destroy = destroy,
        .close = close_all,
    };
    struct config config = {0};
    return ob_program_main(&program, &config, argc, argv);
}
