// SPDX-License-Identifier: BSD-3-Clause
/*
 * qemu-nbd is given a listening socket by systemd's protocol. The socket has mode 0600 in a folder
 * of mode 0700, and its name is gone before anybody serves it: the device inherits a descriptor of
 * it and connects by /proc/self/fd/N. So nothing is left behind, however we end.
 */
#include "disk.h"
#include "disk_cell.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/log.h"

#define LISTEN_FD     3 /* where systemd's protocol has it */
#define GREETING_LEN  18
#define REPLY_LEN     20 /* to an option */
#define MAX_ARGUMENTS 16

/* The guest can write the beginning of a file, but it can't name the file: a raw image with the
 * head of a qcow2 in it would otherwise have any file of the host as its backing file. */
static const struct {
    const char *ending;
    const char *format;
} endings[] = {
    {".qcow2", "qcow2"}, {".qcow", "qcow"}, {".qed", "qed"},       {".vmdk", "vmdk"},
    {".vdi", "vdi"},     {".vhdx", "vhdx"}, {".vhd", "vpc"},       {".vpc", "vpc"},
    {".luks", "luks"},   {".dmg", "dmg"},   {".hdd", "parallels"}, {".cloop", "cloop"},
    {".bochs", "bochs"},
};

static const char *format_of(const struct image_option *option)
{
    const char *ending = strrchr(option->block.path, '.');
    if (option->format)
        return option->format;
    for (size_t i = 0; ending && i < sizeof(endings) / sizeof(endings[0]); i++)
        if (strcasecmp(ending, endings[i].ending) == 0)
            return endings[i].format;
    return "raw";
}

bool disk_server_is_needed(const struct image_option *option)
{
    if (image_is_nbd(option->block.path))
        return false;
    return option->by_server || option->snapshot || option->key_file ||
           strcmp(format_of(option), "raw") != 0;
}

const char *disk_server_export(const struct image_option *option)
{
    const char *slash = strrchr(option->block.path, '/');
    return slash ? slash + 1 : option->block.path;
}

pid_t disk_fork(void)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    setsid(); /* the terminal's signals are ours to pass on, in order */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    signal(SIGPIPE, SIG_DFL); /* as they were before the log */
    signal(SIGXFSZ, SIG_DFL);
    return 0;
}

/* A socket that listens, and a descriptor of its name, which is no longer there. */
static int make_socket(int *ret_listening, int *ret_name, struct ob_fault *fault)
{
    const char *given = getenv("TMPDIR");
    const char *folder = given && given[0] ? given : "/tmp";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[sizeof(address.sun_path) - sizeof("/nbd")];
    int len = snprintf(path, sizeof(path), "%s/outboard-disk-XXXXXX", folder);
    if (len < 0 || (size_t)len >= sizeof(path))
        return ob_fault_set(fault, -ENAMETOOLONG,
                            "TMPDIR: the path is too long for a socket; set a shorter one");
    if (!mkdtemp(path))
        return ob_fault_set(fault, -errno, "can't make a folder in %.180s for a socket: %s", folder,
                            strerror(errno));
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/nbd", path);
    AUTO_FD listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mode_t mask = umask(0177);
    AUTO_FD name = -1;
    bool made = listening >= 0 &&
                bind(listening, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                listen(listening, SOMAXCONN) == 0;
    umask(mask);
    if (made)
        name = open(address.sun_path, O_PATH | O_CLOEXEC);
    int err = -errno;
    unlink(address.sun_path);
    rmdir(path);
    if (name < 0)
        return ob_fault_set(fault, err, "can't make the socket %s: %s", address.sun_path,
                            strerror(-err));
    *ret_listening = take_fd(&listening);
    *ret_name = take_fd(&name);
    return 0;
}

void disk_append(char *text, size_t size, const char *key, const char *value)
{
    size_t at = strlen(text);
    at += (size_t)snprintf(text + at, size - at, "%s", key);
    for (; *value && at + 2 < size; value++) {
        text[at++] = *value;
        if (*value == ',')
            text[at++] = ',';
    }
    text[at] = '\0';
}

/* An encrypted image is named by options, which say where its key is. */
static void exec_qemu_nbd(const struct image_option *option, const char *path)
{
    const char *format = format_of(option);
    bool is_luks = strcmp(format, "luks") == 0;
    char secret[2 * PATH_MAX + 64] = "secret,id=key";
    char image[2 * PATH_MAX + 128] = "driver=";
    char *argv[MAX_ARGUMENTS] = {"qemu-nbd", "--persistent", "--discard=unmap", "--export-name",
                                 (char *)disk_server_export(option)};
    unsigned count = 5;
    if (option->block.readonly)
        argv[count++] = "--read-only";
    if (option->snapshot)
        argv[count++] = "--snapshot";
    if (option->block.direct)
        argv[count++] = "--nocache";
    if (option->key_file) {
        disk_append(secret, sizeof(secret), ",file=", option->key_file);
        disk_append(image, sizeof(image), "", format);
        disk_append(image, sizeof(image),
                    is_luks ? ",key-secret=key,file.filename="
                            : ",encrypt.key-secret=key,file.filename=",
                    path);
        argv[count++] = "--object";
        argv[count++] = secret;
        argv[count++] = "--image-opts";
        argv[count++] = image;
    } else {
        argv[count++] = "-f";
        argv[count++] = (char *)format;
        argv[count++] = (char *)path;
    }
    execvp(argv[0], argv);
}

/* The same service where qemu-nbd is not installed. Its options name each layer. */
static void exec_storage_daemon(const struct image_option *option, const char *path)
{
    const char *format = format_of(option);
    struct stat status;
    const bool is_device = stat(path, &status) == 0 && S_ISBLK(status.st_mode);
    char image[2 * PATH_MAX + 256] = "node-name=image,discard=unmap";
    char export[2 * PATH_MAX + 64] = "type=nbd,id=export,node-name=image";
    disk_append(image, sizeof(image), ",driver=", format);
    disk_append(image, sizeof(image), ",read-only=", option->block.readonly ? "on" : "off");
    disk_append(image, sizeof(image), ",cache.direct=", option->block.direct ? "on" : "off");
    disk_append(image, sizeof(image), ",file.driver=", is_device ? "host_device" : "file");
    disk_append(image, sizeof(image), ",file.discard=unmap,file.filename=", path);
    disk_append(export, sizeof(export), ",writable=", option->block.readonly ? "off" : "on");
    disk_append(export, sizeof(export), ",name=", disk_server_export(option));
    char *argv[] = {"qemu-storage-daemon",
                    "--blockdev",
                    image,
                    "--nbd-server",
                    "addr.type=fd,addr.str=3,max-connections=1",
                    "--export",
                    export,
                    NULL};
    execvp(argv[0], argv);
}

static void exec_server(const struct image_option *option, const char *path)
{
    log_give_back_signals();
    exec_qemu_nbd(option, path);
    const bool is_absent = errno == ENOENT;
    const bool is_simple = !option->snapshot && !option->key_file;
    if (is_absent && is_simple)
        exec_storage_daemon(option, path);
    const int err = errno;
    log_start("outboard disk");
    if (is_absent && !is_simple)
        log_line("%s: qemu-nbd is not installed; install Debian's package qemu-utils",
                 option->snapshot ? "snapshot" : "key-file");
    else
        log_line("can't start qemu-nbd, of Debian's package qemu-utils%s: %s",
                 is_absent ? ", nor qemu-storage-daemon, of qemu-system-common" : "",
                 strerror(err));
}

static void become_server(const struct image_option *option, int listening, const char *path)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    unsetenv("LISTEN_FDNAMES");
    unsetenv("NOTIFY_SOCKET");
    disk_cell_enter(option, path, format_of(option));
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* other rights have ended it */
    log_end();                        /* its descriptor could be that one */
    if (listening == LISTEN_FD)
        fcntl(listening, F_SETFD, 0);
    else
        dup2(listening, LISTEN_FD);
    closefrom(LISTEN_FD + 1);
    exec_server(option, path);
    _exit(EXIT_FAILURE);
}

static bool receive(int fd, size_t len)
{
    char data[REPLY_LEN];
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

/* It greets who connects as soon as it has the image open, or ends, and the connection with it.
 * After the greeting we take leave as the protocol has it. */
static bool is_greeted(int name)
{
    static const char leave[] = "\0\0\0\1IHAVEOPT\0\0\0\2\0\0\0"; /* flags, NBD_OPT_ABORT */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", name);
    return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
           receive(fd, GREETING_LEN) &&
           send(fd, leave, sizeof(leave), MSG_NOSIGNAL) == sizeof(leave) && receive(fd, REPLY_LEN);
}

int disk_server_start(const struct image_option *option, struct disk_server *ret_server,
                      struct ob_fault *fault)
{
    AUTO_FD listening = -1;
    AUTO_FD name = -1;
    /* Whole, since qemu-nbd takes the part before a colon for a protocol. */
    AUTO_FREE char *path = realpath(option->block.path, NULL);
    if (!path)
        return ob_fault_set(fault, -errno, "can't open %.180s: %s", option->block.path,
                            strerror(errno));
    int err = make_socket(&listening, &name, fault);
    if (err < 0)
        return err;
    pid_t pid = disk_fork();
    if (pid < 0)
        return ob_fault_set(fault, -errno, "can't start a process: %s", strerror(errno));
    if (pid == 0)
        become_server(option, listening, path);
    close(take_fd(&listening)); /* or nobody would see it end */
    if (!is_greeted(name)) {
        kill(pid, SIGTERM);
        return ob_fault_set(fault, -EIO, "qemu-nbd does not serve %.180s", option->block.path);
    }
    *ret_server =
        (struct disk_server){.pid = pid, .socket_fd = take_fd(&name), .image = option->block.path};
    return 0;
}
