// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard disk: outboard-nvme, with a qemu-nbd of its own for each image that is not raw.
 *
 * The device can reach its guest's data by sockets only, and another process parses the
 * image's format. All of them live and end together: the device first, so that
 * its last flush is served. When we are killed the kernel tells them to end.
 */
#include "disk.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/vault_head.h"
#include "command.h"
#include "os/log.h"
#include "supervisor/program_path.h"

#define DEVICE          "outboard-nvme"
#define SIGNALLED       128 /* added to the signal's number, as shells do */
#define MAX_ARGUMENTS   512
#define OPTION_LEN      1024 /* of an image that a server has: 255 bytes of a name, encoded */
#define OPTION_REST_LEN 160

struct disk {
    struct disk_server servers[BLOCK_IMAGES];
    struct image_option images[BLOCK_IMAGES];
    char *options[BLOCK_IMAGES]; /* the device's options for the servers' images */
    unsigned server_count;
    unsigned image_count;
    char *device_argv[MAX_ARGUMENTS + 1];
    pid_t device; /* 0: not started, or has ended */
    int status;
};

static void print_help(void)
{
    puts(
        "usage: outboard disk (--fd=N | --socket-path=PATH) --image=PATH[,PROPERTY...]... "
        "[OPTION...]\n"
        "\n"
        "Starts outboard-nvme, and for each image that is not raw a qemu-nbd that it reaches by a\n"
        "private socket. All end together. Options are outboard-nvme's, and so are an image's\n"
        "properties, besides these:\n"
        "\n"
        "  format=NAME    raw, qcow2, vmdk, vdi, vhdx, vpc, qed, luks...; by default that of\n"
        "                 the path's ending, else raw: a guest can write the beginning of a file\n"
        "  snapshot       the guest's writes are discarded at the end\n"
        "  key-file=PATH  the key of an encrypted image\n"
        "  nbd            by qemu-nbd also if the image is raw");
}

/* Appends a name as a URI has it, RFC 3986, section 2. */
static void append_encoded(char *text, size_t size, const char *name)
{
    size_t at = strlen(text);
    for (; *name && at + 4 <= size; name++) {
        bool plain = isalnum((unsigned char)*name) || strchr("-._~", *name);
        at += (size_t)snprintf(text + at, size - at, plain ? "%c" : "%%%02X", (unsigned char)*name);
    }
}

/* The export has the image's name, for the device's messages. The serial number stays the one
 * that the image has without a server. */
static char *describe(const struct image_option *option, int socket_fd)
{
    char text[OPTION_LEN] = "--image=nbd+unix:///";
    char rest[OPTION_REST_LEN];
    append_encoded(text, sizeof(text) - sizeof(rest), disk_server_export(option));
    snprintf(rest, sizeof(rest), "?socket=/proc/self/fd/%d,block-size=%u%s", socket_fd,
             option->block.block_size, option->block.readonly ? ",readonly" : "");
    disk_append(rest, sizeof(rest), ",serial=", option->serial);
    strcat(text, rest);
    return strdup(text);
}

static int parse(struct disk *disk, int argc, char **argv, struct ob_fault *fault)
{
    int err = 0;
    if (argc > MAX_ARGUMENTS)
        return ob_fault_set(fault, -E2BIG, "got more than %d arguments", MAX_ARGUMENTS);
    for (int i = 1; i < argc && err == 0; i++) {
        if (strncmp(argv[i], "--image=", 8) != 0)
            continue;
        if (disk->image_count == BLOCK_IMAGES)
            return ob_fault_set(fault, -E2BIG, "got more than %u images, the limit of a disk",
                                BLOCK_IMAGES);
        err = image_option_parse(argv[i] + 8, &disk->images[disk->image_count], fault);
        disk->image_count += err == 0;
    }
    return err;
}

/* Starts the servers that are needed and writes the device's command line. */
static int start_servers(struct disk *disk, int argc, char **argv, struct ob_fault *fault)
{
    unsigned image = 0;
    for (int i = 1; i < argc; i++) {
        disk->device_argv[i] = argv[i];
        if (strncmp(argv[i], "--image=", 8) != 0)
            continue;
        const struct image_option *option = &disk->images[image++];
        struct disk_server *server = &disk->servers[disk->server_count];
        if (!disk_server_is_needed(option))
            continue;
        if (getenv(VAULT_VARIABLE))
            return ob_fault_set(
                fault, -ENOTSUP,
                "%.80s: got on-death = \"restart\", but its qemu-nbd ends with "
                "'outboard disk'; start a qemu-nbd --persistent --shared=0, and give "
                "'outboard-nvme' its name",
                option->block.path);
        int err = disk_server_start(option, server, fault);
        if (err < 0)
            return err;
        fcntl(server->socket_fd, F_SETFD, 0);
        disk->device_argv[i] = disk->options[disk->server_count++] =
            describe(option, server->socket_fd);
        if (!disk->device_argv[i])
            return ob_fault_set(fault, -ENOMEM, "no memory for an option");
    }
    return 0;
}

static void exec_device(char **argv)
{
    char path[PATH_MAX];
    int err = program_path_find(DEVICE, path, sizeof(path));
    argv[0] = DEVICE;
    if (err == 0)
        execv(path, argv);
    log_line("can't start " DEVICE ": %s", strerror(err < 0 ? -err : errno));
    _exit(EXIT_FAILURE);
}

static void become_device(struct disk *disk, const sigset_t *mask)
{
    const char *listen_pid = getenv("LISTEN_PID");
    sigprocmask(SIG_SETMASK, mask, NULL);
    log_give_back_signals();
    /* Descriptors of the service manager are the device's. */
    if (listen_pid && atoi(listen_pid) == getppid()) {
        char text[16];
        snprintf(text, sizeof(text), "%d", getpid());
        setenv("LISTEN_PID", text, 1);
    }
    exec_device(disk->device_argv);
}

static void device_ended(struct disk *disk, int status)
{
    disk->device = 0;
    if (disk->status == EXIT_SUCCESS)
        disk->status = WIFEXITED(status) ? WEXITSTATUS(status) : SIGNALLED + WTERMSIG(status);
    if (WIFSIGNALED(status))
        log_line(DEVICE " was ended by signal %d", WTERMSIG(status));
}

static void server_ended(struct disk *disk, struct disk_server *server)
{
    server->pid = 0;
    if (disk->device == 0)
        return;
    log_line("the qemu-nbd of %s has ended; the disk ends too", server->image);
    disk->status = EXIT_FAILURE;
    kill(disk->device, SIGTERM);
}

static void reap(struct disk *disk)
{
    int status;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
        if (pid == disk->device)
            device_ended(disk, status);
        for (unsigned i = 0; i < disk->server_count; i++)
            if (pid == disk->servers[i].pid)
                server_ended(disk, &disk->servers[i]);
    }
}

/* Descriptors that we were given, and the sockets' names, are the device's, whose peer has to see it end. All
 * that is ours alone is closed by exec. */
static void close_inherited(void)
{
    DIR *folder = opendir("/proc/self/fd");
    for (const struct dirent *entry = folder ? readdir(folder) : NULL; entry;
         entry = readdir(folder)) {
        int fd = atoi(entry->d_name);
        int flags = fcntl(fd, F_GETFD);
        if (fd > STDERR_FILENO && flags >= 0 && !(flags & FD_CLOEXEC))
            close(fd);
    }
    if (folder)
        closedir(folder);
}

static void serve(struct disk *disk)
{
    sigset_t ours, before;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ours, &before);
    disk->device = disk_fork();
    if (disk->device == 0)
        become_device(disk, &before);
    close_inherited();
    if (disk->device < 0) {
        log_line("can't start a process: %s", strerror(errno));
        disk->device = 0;
        disk->status = EXIT_FAILURE;
    }
    reap(disk); /* a server that ended before its signal was ours */
    while (disk->device > 0) {
        int number = sigwaitinfo(&ours, NULL);
        if (number == SIGCHLD)
            reap(disk);
        else if (number > 0)
            kill(disk->device, SIGTERM);
    }
}

/* qemu-nbd writes its buffered data before it ends; nothing may cut that short. */
static void end_servers(struct disk *disk)
{
    for (unsigned i = 0; i < disk->server_count; i++)
        if (disk->servers[i].pid > 0)
            kill(disk->servers[i].pid, SIGTERM);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
}

static int run(struct disk *disk, int argc, char **argv)
{
    struct ob_fault fault = {0};
    if (parse(disk, argc, argv, &fault) < 0) {
        log_line("%s", fault.text);
        return EXIT_USAGE;
    }
    if (start_servers(disk, argc, argv, &fault) < 0) {
        log_line("%s", fault.text);
        disk->status = EXIT_FAILURE;
    } else {
        serve(disk);
    }
    end_servers(disk);
    return disk->status;
}

int cmd_disk(int argc, char **argv)
{
    if (log_start("outboard disk") < 0)
        return EXIT_FAILURE;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
    signal(SIGCHLD, SIG_DFL); /* who ignores it can't wait for anybody */
    AUTO_FREE struct disk *disk = calloc(1, sizeof(*disk));
    if (!disk) {
        log_line("no memory");
        return EXIT_FAILURE;
    }
    int status = run(disk, argc, argv);
    for (unsigned i = 0; i < disk->server_count; i++)
        free(disk->options[i]);
    for (unsigned i = 0; i < disk->image_count; i++)
        image_option_done(&disk->images[i]);
    return status;
}
