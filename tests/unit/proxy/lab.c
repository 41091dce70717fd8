// SPDX-License-Identifier: BSD-3-Clause
#include "lab.h"

#include "support.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Rounds of at most this many milliseconds: 20 s, after which a test hangs. */
#define ROUND_MS 5
#define ROUNDS   4000

/* Copies text with the folder in the place of each "@". */
static void put_folder(const struct lab *lab, const char *text, char *ret_text, size_t size)
{
    size_t len = 0;
    for (; *text; text++) {
        if (*text == '@')
            len += (size_t)snprintf(ret_text + len, size - len, "%s", lab->folder);
        else
            ret_text[len++] = *text;
        assert_true(len < size);
    }
    ret_text[len] = '\0';
}

static void start_end(struct lab *lab, struct lab_end *end, const char *words)
{
    struct ob_fault fault = {0};
    char *rest;
    int argc = 1;
    end->has_pair = !strstr(words, "-c ");
    int len = end->has_pair ? snprintf(end->text, sizeof(end->text), "-c fd:%d ", end->channel) : 0;
    put_folder(lab, words, end->text + len, sizeof(end->text) - (size_t)len);
    end->argv[0] = (char *)"proxy";
    for (char *word = strtok_r(end->text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < LAB_WORDS);
        end->argv[argc++] = word;
    }
    int verdict = proxy_options_parse(argc, end->argv, &end->options, &fault);
    if (verdict == PROXY_RUN)
        verdict = proxy_init(&end->proxy, &end->options, &fault);
    if (verdict < 0)
        fail_msg("%s", fault.text);
}

static void prepare(struct lab *lab)
{
    int pair[2];
    *lab = (struct lab){.folder = "/tmp/ob-lab-XXXXXX"};
    signal(SIGPIPE, SIG_IGN); /* as log_start() has it */
    assert_non_null(mkdtemp(lab->folder));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    lab->ends[LAB_OURS].channel = pair[0];
    lab->ends[LAB_THE_OTHER].channel = pair[1];
}

void lab_start(struct lab *lab, const char *ours, const char *other)
{
    prepare(lab);
    lab->num_proxies = 2;
    start_end(lab, &lab->ends[LAB_OURS], ours);
    start_end(lab, &lab->ends[LAB_THE_OTHER], other);
}

void lab_start_one(struct lab *lab, const char *ours, void (*turn)(void *argument), void *argument)
{
    prepare(lab);
    lab->num_proxies = 1;
    lab->turn_other = turn;
    lab->argument = argument;
    start_end(lab, &lab->ends[LAB_OURS], ours);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    return remove(path);
}

void lab_stop(struct lab *lab)
{
    for (size_t i = 0; i < 2; i++) {
        if (i < lab->num_proxies) {
            proxy_done(&lab->ends[i].proxy);
            proxy_options_done(&lab->ends[i].options);
        }
        if (!lab->ends[i].has_pair)
            close(lab->ends[i].channel);
    }
    log_end();
    nftw(lab->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static bool turn(struct lab *lab)
{
    bool busy = false;
    for (size_t i = 0; i < lab->num_proxies; i++) {
        int more = lab->ends[i].proxy.stop ? 0 : proxy_turn(&lab->ends[i].proxy, false);
        assert_true(more >= 0);
        busy |= more > 0;
    }
    if (lab->turn_other)
        lab->turn_other(lab->argument);
    return busy;
}

void lab_until(struct lab *lab, bool (*holds)(void *argument), void *argument)
{
    struct pollfd loops[2];
    for (size_t i = 0; i < lab->num_proxies; i++)
        loops[i] = (struct pollfd){.fd = loop_fd(lab->ends[i].proxy.loop), .events = POLLIN};
    if (lab->num_proxies < 2)
        loops[1] = (struct pollfd){.fd = lab->ends[LAB_THE_OTHER].channel, .events = POLLIN};
    for (unsigned round = 0; !holds(argument); round++) {
        if (round == ROUNDS)
            fail_msg("what the test waits for does not come");
        if (!turn(lab))
            poll(loops, 2, ROUND_MS);
    }
}

static bool is_up(void *argument)
{
    const struct lab *lab = argument;
    return ob_session_tag(lab->ends[0].proxy.session) && ob_session_tag(lab->ends[1].proxy.session);
}

void lab_until_up(struct lab *lab)
{
    lab_until(lab, is_up, lab);
}

const char *lab_path(const struct lab *lab, const char *name, char ret_path[108])
{
    snprintf(ret_path, 108, "%s/%s", lab->folder, name);
    return ret_path;
}

static int make_socket(const struct lab *lab, const char *name, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    lab_path(lab, name, ret_address->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

int lab_connect(const struct lab *lab, const char *name)
{
    struct sockaddr_un address;
    int fd = make_socket(lab, name, &address);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

int lab_listen(const struct lab *lab, const char *name)
{
    struct sockaddr_un address;
    int fd = make_socket(lab, name, &address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

struct arrival {
    int fd;  /* what is waited at */
    int got; /* a connection; -1: none yet */
};

static bool has_connection(void *argument)
{
    struct arrival *arrival = argument;
    // cppcheck-suppress nullPointer ; accept4(2) fills nothing then
    arrival->got = accept4(arrival->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return arrival->got >= 0;
}

int lab_accept(struct lab *lab, int listener)
{
    struct arrival arrival = {.fd = listener};
    lab_until(lab, has_connection, &arrival);
    return arrival.got;
}

void lab_send(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

struct reading {
    int fd;
    uint8_t *to;
    size_t len; /* to be read; 0: the end of file */
    bool ended;
};

static bool has_read(void *argument)
{
    struct reading *reading = argument;
    uint8_t more;
    ssize_t got =
        recv(reading->fd, reading->len ? reading->to : &more, reading->len ? reading->len : 1, 0);
    if (got < 0)
        assert_true(errno == EAGAIN || (errno == ECONNRESET && !reading->len));
    reading->ended = got == 0 || (got < 0 && errno == ECONNRESET);
    if (reading->ended || got <= 0)
        return reading->ended;
    assert_true(reading->len > 0); /* else bytes came where the end was due */
    reading->to += got;
    reading->len -= (size_t)got;
    return reading->len == 0;
}

void lab_expect(struct lab *lab, int fd, const void *bytes, size_t len)
{
    uint8_t *got = malloc(len);
    struct reading reading = {.fd = fd, .to = got, .len = len};
    assert_non_null(got);
    lab_until(lab, has_read, &reading);
    assert_false(reading.ended);
    assert_memory_equal(got, bytes, len);
    free(got);
}

void lab_expect_text(struct lab *lab, int fd, const char *text)
{
    lab_expect(lab, fd, text, strlen(text));
}

void lab_expect_end(struct lab *lab, int fd)
{
    struct reading reading = {.fd = fd};
    lab_until(lab, has_read, &reading);
    assert_true(reading.ended);
}

void lab_read_line(struct lab *lab, int fd, char *ret_line, size_t size)
{
    size_t len = 0;
    do {
        assert_true(len < size);
        struct reading reading = {.fd = fd, .to = (uint8_t *)ret_line + len, .len = 1};
        lab_until(lab, has_read, &reading);
        assert_false(reading.ended);
    } while (ret_line[len++] != '\n');
    ret_line[len - 1] = '\0';
}
