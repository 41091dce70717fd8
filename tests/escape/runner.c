// SPDX-License-Identifier: BSD-3-Clause
/*
 * usage: escapes --list
 *        escapes [OPTION...] --hook=LIBRARY DEED PROGRAM [ARGUMENT...]
 *
 * Has a program do a deed (escape.h), in a cell or without one, and compares the outcome with the
 * deed's row. DEED is "all", or names of --list with commas between them. '@' in an argument stands
 * for a folder with the files "file" and "image" and a socket, "stream". A program may make "channel"
 * and "forward" there.
 *
 *     --cell=HOW    the program's cell: default (also if not given) or none
 *     --user=UID    becomes this user first
 *     --beneath     the policy of system calls allows all deeds, so that the rest of the cell answers
 *     --at-wait     the program is no device, and is taken over when it waits for a peer
 *     --outside     a process is taken over that the program keeps outside its cell. An outcome is then
 *                   fine that is not "done"; with --cell=none, one that is
 *
 * Each deed is a line of TAP:
 *
 *     ok 12 - make a TCP socket: killed socket
 *
 * Its status is 0 if nothing failed. It needs no other program, so that it runs in a guest too.
 */
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* only a program that hangs reaches it */
#define ARGUMENTS   16
#define OUTPUT_LEN  8192
#define IMAGE_LEN   (1 << 20)
#define MEMORY_LEN  (1 << 20)

static struct runner {
    struct escape_world *world;
    int world_fd;
    const char *cell, *hook;
    bool beneath, at_wait, outside;
    int memory_fd; /* of a guest */
    char *arguments[ARGUMENTS + 4];
    unsigned tried, failed;
} the_runner = {.cell = "default", .hook = ""};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "escapes: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static long check(long value, const char *what)
{
    if (value < 0)
        fail(what);
    return value;
}

static int at(const struct runner *runner, const char *name, char *ret_path, size_t size)
{
    return snprintf(ret_path, size, "%s/%s", runner->world->folder, name);
}

/* The file is a script, so that it can be executed by its descriptor. */
static void write_file(const struct runner *runner, const char *name, off_t len)
{
    char path[128], text[300];
    at(runner, name, path, sizeof(path));
    unlink(path);
    int fd = (int)check(open(path, O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0700), path);
    int text_len = snprintf(text, sizeof(text), "#!%s --list\n", runner->world->program);
    check(write(fd, text, (size_t)text_len), path);
    if (len > 0)
        check(ftruncate(fd, len), path);
    close(fd);
}

/* A line for each call that a deed makes. */
static void write_policy(const struct runner *runner)
{
    static const char needed[] = "bind\nlisten\nwait4\nsocket\nmremap\nmmap\nmprotect\nbrk\n"
                                 "clone\nsendto\nsendmsg\ninotify_add_watch\numount2\n";
    char path[128];
    at(runner, "policy", path, sizeof(path));
    FILE *file = fopen(path, "we");
    if (!file)
        fail(path);
    fputs(needed, file);
    const struct escape_deed *deed;
    for (size_t i = 0; (deed = escape_deed(i)); i++)
        if (deed->refused[0] >= 'a')
            fprintf(file, "%.*s\n", (int)strcspn(deed->refused, "|/"), deed->refused);
    if (fclose(file) < 0)
        fail(path);
}

/* What a deed may have made or removed. */
static void restore_files(const struct runner *runner)
{
    char path[128];
    at(runner, "made", path, sizeof(path));
    if (unlink(path) < 0 && errno == EISDIR)
        rmdir(path);
    write_file(runner, "file", 0);
    write_file(runner, "spare", 0);
    write_file(runner, "image", IMAGE_LEN);
}

static void remove_files(void)
{
    const struct runner *runner = &the_runner;
    static const char *const names[] = {"made",    "file",     "spare",          "image",
                                        "stream",  "datagram", "policy",         "channel",
                                        "forward", "host",     "host.seqpacket", "port"};
    char path[128];
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        at(runner, names[i], path, sizeof(path));
        if (unlink(path) < 0 && errno == EISDIR)
            rmdir(path);
    }
    rmdir(runner->world->folder);
}

static void end_early(int signal_number)
{
    (void)signal_number;
    remove_files();
    _exit(EXIT_FAILURE);
}

/* A socket that others can reach, at a path or, with a name that begins with '@', an abstract one.
 */
static void offer(const char *name, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(address.sun_path, name, len + 1);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    int fd = (int)check(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
    check(bind(fd, (struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
          name);
    if (type == SOCK_STREAM)
        check(listen(fd, 4), name);
}

/* At 127.0.0.1. */
static int listen_by_tcp(int flags, struct sockaddr_in *ret_address)
{
    socklen_t len = sizeof(*ret_address);
    *ret_address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = (int)check(socket(AF_INET, SOCK_STREAM | flags, 0), "socket");
    check(bind(fd, (struct sockaddr *)ret_address, len), "bind");
    check(listen(fd, 4), "listen");
    check(getsockname(fd, (struct sockaddr *)ret_address, &len), "getsockname");
    return fd;
}

static void offer_sockets(const struct runner *runner)
{
    char name[128];
    at(runner, "stream", name, sizeof(name));
    offer(name, SOCK_STREAM);
    at(runner, "datagram", name, sizeof(name));
    offer(name, SOCK_DGRAM);
    snprintf(name, sizeof(name), "@%s", runner->world->abstract);
    offer(name, SOCK_STREAM);
    snprintf(name, sizeof(name), "@%s-d", runner->world->abstract);
    offer(name, SOCK_DGRAM);
    snprintf(name, sizeof(name), "@%s-n", runner->world->abstract);
    offer(name, SOCK_DGRAM);
    struct sockaddr_in address;
    listen_by_tcp(SOCK_CLOEXEC, &address);
    runner->world->port = ntohs(address.sin_port);
}

/* It has started when this returns, and ends with the runner. */
static void start_sibling(struct escape_world *world)
{
    int ends[2];
    char byte;
    check(pipe2(ends, O_CLOEXEC), "pipe");
    pid_t pid = (pid_t)check(fork(), "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        prctl(PR_SET_DUMPABLE, 1);
        if (write(ends[1], "", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    check(read(ends[0], &byte, 1), "the sibling");
    close(ends[0]);
    close(ends[1]);
    world->sibling = pid;
    world->sibling_fd = (int)check(syscall(SYS_pidfd_open, world->sibling, 0), "pidfd_open");
    check(fcntl(world->sibling_fd, F_SETFD, 0), "pidfd");
}

static void end_sibling(struct escape_world *world)
{
    kill(world->sibling, SIGKILL);
    waitpid(world->sibling, NULL, 0);
    close(world->sibling_fd);
}

static void prepare_world(struct runner *runner)
{
    const char *temporary = getenv("TMPDIR");
    runner->world_fd = (int)check(memfd_create("world", 0), "memfd_create");
    check(ftruncate(runner->world_fd, sizeof(struct escape_world)), "ftruncate");
    runner->world = mmap(NULL, sizeof(struct escape_world), PROT_READ | PROT_WRITE, MAP_SHARED,
                         runner->world_fd, 0);
    if (runner->world == MAP_FAILED)
        fail("mmap");
    struct escape_world *world = runner->world;
    snprintf(world->folder, sizeof(world->folder), "%s/escapes-XXXXXX",
             temporary && strlen(temporary) < 40 ? temporary : "/tmp");
    if (!mkdtemp(world->folder))
        fail(world->folder);
    atexit(remove_files);
    signal(SIGTERM, end_early);
    signal(SIGINT, end_early);
    signal(SIGPIPE, end_early);
    snprintf(world->abstract, sizeof(world->abstract), "escapes-%d", (int)getpid());
    check(readlink("/proc/self/exe", world->program, sizeof(world->program) - 1), "/proc/self/exe");
    world->at_wait = runner->at_wait;
    world->outside = runner->outside;
    world->has_cell = strcmp(runner->cell, "none") != 0;
    gethostname(world->host, sizeof(world->host) - 1);
    offer_sockets(runner);
}

/* SYNC_SYSMEM of mpqemu: a region from address 0 on. */
static void share_memory(int fd, int memory_fd)
{
    /* The command, 0; the length of what follows; 8 addresses, 8 sizes, 8 offsets. */
    uint64_t message[2 + 3 * 8] = {[1] = 3 * 8 * sizeof(uint64_t), [2 + 8] = MEMORY_LEN};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {.iov_base = message, .iov_len = sizeof(message)};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof(control)};
    *CMSG_FIRSTHDR(&header) = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &memory_fd, sizeof(memory_fd));
    /* A program that has ended already says why. */
    ssize_t sent = sendmsg(fd, &header, MSG_NOSIGNAL);
    (void)sent;
}

static _Noreturn void become_program(struct runner *runner, int socket_fd, int output_fd)
{
    static char socket_option[32], cell_option[32], policy_option[160];
    char number[16], notify[80];
    unsigned count = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (runner->arguments[count])
        count++;
    snprintf(socket_option, sizeof(socket_option), "--fd=%d", socket_fd);
    snprintf(cell_option, sizeof(cell_option), "--cell=%s", runner->cell);
    if (!runner->at_wait)
        runner->arguments[count++] = socket_option;
    runner->arguments[count++] = cell_option;
    if (runner->beneath) {
        snprintf(policy_option, sizeof(policy_option), "--cell-policy=%s/policy",
                 runner->world->folder);
        runner->arguments[count] = policy_option;
    }
    snprintf(notify, sizeof(notify), "@%s-n", runner->world->abstract);
    setenv("NOTIFY_SOCKET", notify, 1);
    snprintf(number, sizeof(number), "%d", runner->world_fd);
    setenv(ESCAPE_VARIABLE, number, 1);
    setenv("LD_PRELOAD", runner->hook, 1);
    dup2(output_fd, STDOUT_FILENO);
    dup2(output_fd, STDERR_FILENO);
    execv(runner->arguments[0], runner->arguments);
    perror(runner->arguments[0]);
    _exit(EXIT_FAILURE);
}

/* Starts the program and waits for its end: its status, and what it has printed. */
static int run_program(struct runner *runner, char *ret_output)
{
    int sockets[2], output[2], status = 0;
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), "socketpair");
    check(pipe2(output, O_CLOEXEC | O_NONBLOCK), "pipe");
    pid_t pid = (pid_t)check(fork(), "fork");
    if (pid == 0) {
        int socket_fd = (int)check(dup(sockets[1]), "dup");
        become_program(runner, socket_fd, output[1]);
    }
    close(sockets[1]);
    close(output[1]);
    share_memory(sockets[0], runner->memory_fd);
    int pid_fd = (int)check(syscall(SYS_pidfd_open, pid, 0), "pidfd_open");
    struct pollfd ended = {.fd = pid_fd, .events = POLLIN};
    if (runner->outside)
        escape_await(runner->world, PATIENCE_MS);
    if (check(poll(&ended, 1, runner->outside ? 0 : PATIENCE_MS), "poll") == 0)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    ssize_t len = read(output[0], ret_output, OUTPUT_LEN - 1);
    ret_output[len > 0 ? len : 0] = '\0';
    close(pid_fd);
    close(output[0]);
    close(sockets[0]);
    return status;
}

/* The outcome in a word or two. */
static void judge_end(const struct runner *runner, const struct escape_deed *deed, int status,
                      const char *output, char *ret_outcome, size_t size)
{
    static const char telling[] = "refused the system call '";
    const struct escape_world *world = runner->world;
    const char *name = strstr(output, telling);
    name = name ? name + strlen(telling) : "?";
    if (world->state == ESCAPE_ENDED)
        snprintf(ret_outcome, size, "%s",
                 world->result == 0 ? "done" : strerrorname_np(-(int)world->result));
    else if (world->state == ESCAPE_BEGUN && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        snprintf(ret_outcome, size, "killed %.*s", (int)strcspn(name, "'"), name);
    else if (world->state == ESCAPE_BEGUN && WIFEXITED(status) && deed->flags & ESCAPE_LEAVES)
        snprintf(ret_outcome, size, "done");
    else
        snprintf(ret_outcome, size, "status 0x%x %s", (unsigned)status,
                 world->state == ESCAPE_BEGUN ? "in the deed" : "before the deed");
}

static bool is_among(const char *word, const char *list, char separator)
{
    size_t len = strlen(word);
    for (const char *next = list; next; next = strchr(next, separator)) {
        next += *next == separator;
        if (strncmp(next, word, len) == 0 && (next[len] == separator || next[len] == '\0'))
            return true;
    }
    return false;
}

/* Whether the outcome is what the cell is to answer. */
static bool is_refusal(const struct runner *runner, const char *outcome, const char *refused)
{
    if (runner->outside)
        return runner->world->state == ESCAPE_ENDED && strcmp(outcome, "done") != 0;
    const char *rest = strchr(refused, '/');
    char alternatives[64];
    if (runner->beneath)
        return rest && is_among(outcome, rest + 1, '|');
    snprintf(alternatives, sizeof(alternatives), "%.*s", (int)strcspn(refused, "/"), refused);
    static const char killed[] = "killed ";
    if (strncmp(outcome, killed, strlen(killed)) == 0)
        outcome += strlen(killed);
    return is_among(outcome, alternatives, '|');
}

/* How kernels answer that don't have what a deed needs, or have it for privileged processes. */
static const char machines_refusals[] =
    "EPERM|EACCES|ENOSYS|EAFNOSUPPORT|EPROTONOSUPPORT|"
    "ESOCKTNOSUPPORT|EOPNOTSUPP|EINVAL|ENOSPC|ENOMEM|EMFILE|ENETUNREACH";

static const char *excuse(const struct runner *runner, const struct escape_deed *deed,
                          const char *outcome)
{
    if (deed->flags & ESCAPE_RING && strcmp(outcome, "ENODEV") == 0)
        return "the program has no ring";
    if (runner->world->has_cell || runner->world->state != ESCAPE_ENDED)
        return NULL;
    if (deed->flags & ESCAPE_ROOT && geteuid() != 0)
        return "only root may do that at all";
    if (deed->flags & ESCAPE_DEPENDS && is_among(outcome, machines_refusals, '|'))
        return "this machine refuses it to each process of this user";
    return NULL;
}

/* Descriptors that the program inherits. */
static void open_descriptors(struct runner *runner, const struct escape_deed *deed)
{
    struct escape_world *world = runner->world;
    char path[128];
    at(runner, "file", path, sizeof(path));
    world->readonly_fd = (int)check(open(path, O_RDONLY), path);
    world->stream_fd = (int)check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    world->datagram_fd = (int)check(socket(AF_UNIX, SOCK_DGRAM, 0), "socket");
    struct sockaddr_in address;
    world->listener_fd = deed->flags & ESCAPE_LISTENER ? listen_by_tcp(0, &address) : -1;
    unsigned flags = runner->at_wait ? 0 : MFD_CLOEXEC;
    runner->memory_fd = (int)check(memfd_create("guest", MFD_ALLOW_SEALING | flags), "memfd");
    check(ftruncate(runner->memory_fd, MEMORY_LEN), "ftruncate");
    world->memory_fd = runner->at_wait ? runner->memory_fd : -1;
}

static void close_descriptors(const struct runner *runner)
{
    const struct escape_world *world = runner->world;
    close(runner->memory_fd);
    close(world->readonly_fd);
    close(world->stream_fd);
    close(world->datagram_fd);
    if (world->listener_fd >= 0)
        close(world->listener_fd);
}

static void attempt(struct runner *runner, const struct escape_deed *deed)
{
    struct escape_world *world = runner->world;
    char outcome[128], output[OUTPUT_LEN];
    snprintf(world->deed, sizeof(world->deed), "%s", deed->name);
    world->state = ESCAPE_UNTRIED;
    restore_files(runner);
    start_sibling(world);
    open_descriptors(runner, deed);
    int status = run_program(runner, output);
    judge_end(runner, deed, status, output, outcome, sizeof(outcome));
    close_descriptors(runner);
    end_sibling(world);
    bool is_fine =
        world->has_cell ? is_refusal(runner, outcome, deed->refused) : strcmp(outcome, "done") == 0;
    const char *reason = is_fine ? NULL : excuse(runner, deed, outcome);
    runner->tried++;
    runner->failed += !is_fine && !reason;
    printf("%s %u - %s: %s%s%s\n", is_fine || reason ? "ok" : "not ok", runner->tried, deed->name,
           outcome, reason ? " # SKIP " : "", reason ? reason : "");
    if (!is_fine && !reason)
        printf("# expected %s; the program has printed:\n# %s\n",
               world->has_cell ? deed->refused : "done", output);
    fflush(stdout);
}

static void become_user(const char *text)
{
    uid_t user = (uid_t)strtoul(text, NULL, 10);
    check(setgroups(0, NULL), "setgroups");
    check(setresgid(user, user, user), "setresgid");
    check(setresuid(user, user, user), "setresuid");
}

/* Those that a program may have are its launcher's to say; this one is generous. */
static void allow_descriptors(void)
{
    struct rlimit files;
    check(getrlimit(RLIMIT_NOFILE, &files), "getrlimit");
    files.rlim_cur = files.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
}

static int list(void)
{
    const struct escape_deed *deed;
    for (size_t i = 0; (deed = escape_deed(i)); i++)
        printf("%s%s%s\n", deed->name, deed->flags & ESCAPE_RING ? "\tring" : "",
               strchr(deed->refused, '/') ? "\tbeneath" : "");
    return EXIT_SUCCESS;
}

/* The text with the folder for each '@'. */
static char *fill_in(const struct runner *runner, const char *text)
{
    size_t size = strlen(text) * sizeof(runner->world->folder) + 1, len = 0;
    char *filled = calloc(1, size);
    for (; filled && *text; text++)
        if (*text == '@')
            len += (size_t)snprintf(filled + len, size - len, "%s", runner->world->folder);
        else
            filled[len++] = *text;
    return filled;
}

static void run_deeds(struct runner *runner, const char *names)
{
    const struct escape_deed *deed;
    bool all = strcmp(names, "all") == 0;
    for (size_t i = 0; (deed = escape_deed(i)); i++)
        if ((all && (!runner->beneath || strchr(deed->refused, '/'))) ||
            is_among(deed->name, names, ','))
            attempt(runner, deed);
    printf("1..%u\n", runner->tried);
}

int main(int argc, char **argv)
{
    struct runner *runner = &the_runner;
    const char *user = NULL;
    int next = 1;
    for (; next < argc && strncmp(argv[next], "--", 2) == 0; next++) {
        if (strcmp(argv[next], "--list") == 0)
            return list();
        if (strncmp(argv[next], "--user=", 7) == 0)
            user = argv[next] + 7;
        else if (strncmp(argv[next], "--cell=", 7) == 0)
            runner->cell = argv[next] + 7;
        else if (strncmp(argv[next], "--hook=", 7) == 0)
            runner->hook = argv[next] + 7;
        else if (strcmp(argv[next], "--beneath") == 0)
            runner->beneath = true;
        else if (strcmp(argv[next], "--at-wait") == 0)
            runner->at_wait = true;
        else if (strcmp(argv[next], "--outside") == 0)
            runner->outside = true;
    }
    if (argc - next < 2 || argc - next - 1 > ARGUMENTS) {
        fputs("usage: escapes [OPTION...] --hook=LIBRARY DEED PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    allow_descriptors();
    if (user)
        become_user(user);
    prepare_world(runner);
    write_policy(runner);
    for (int i = next + 1; i < argc; i++)
        runner->arguments[i - next - 1] = fill_in(runner, argv[i]);
    run_deeds(runner, argv[next]);
    return runner->failed > 0 || runner->tried == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
