// SPDX-License-Identifier: BSD-3-Clause
/* A name server of the test's own answers from a table, in a process of its own. */
#include "endpoint/lookup.h"

#include "support.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct world {
    char folder[32];
    char hosts[48], resolv_conf[48];
    struct lookup_files files;
    int server_fd;
    pid_t server;
};

/* What the server knows, as names lie on the wire; each has one IPv4 address. */
static const struct {
    const char *name;
    uint8_t address[4];
} known[] = {
    {"\3www\7example", {192, 0, 2, 1}},
    {"\2db\6office\7example", {192, 0, 2, 2}},
};

static size_t answer(uint8_t *bytes, size_t len)
{
    static const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4};
    bool is_a = bytes[len - 3] == 1;
    bytes[2] = 0x81;
    bytes[3] = 0x83;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp((char *)bytes + 12, known[i].name) != 0)
            continue;
        bytes[3] = 0x80;
        if (!is_a)
            break;
        bytes[7] = 1;
        memcpy(bytes + len, record, sizeof(record));
        memcpy(bytes + len + sizeof(record), known[i].address, 4);
        return len + sizeof(record) + 4;
    }
    return len;
}

/* Serves until it is ended. What is not an answer to the query comes first, always. */
static void serve(int fd)
{
    for (;;) {
        uint8_t bytes[512];
        struct sockaddr_storage from;
        socklen_t from_len = sizeof(from);
        ssize_t got = recvfrom(fd, bytes, 300, 0, (struct sockaddr *)&from, &from_len);
        if (got < 17)
            continue;
        sendto(fd, "noise", 5, 0, (struct sockaddr *)&from, from_len);
        size_t len = answer(bytes, (size_t)got);
        bytes[1] ^= 1;
        sendto(fd, bytes, len, 0, (struct sockaddr *)&from, from_len); /* of another query */
        bytes[1] ^= 1;
        sendto(fd, bytes, len, 0, (struct sockaddr *)&from, from_len);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void set_up(struct world *world, const char *hosts, const char *options)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    char text[200];
    strcpy(world->folder, "/tmp/lookup-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    snprintf(world->hosts, sizeof(world->hosts), "%s/hosts", world->folder);
    snprintf(world->resolv_conf, sizeof(world->resolv_conf), "%s/resolv.conf", world->folder);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    world->server_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(world->server_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(world->server_fd, (struct sockaddr *)&address, &len), 0);
    world->files = (struct lookup_files){
        .hosts = world->hosts, .resolv_conf = world->resolv_conf, .port = ntohs(address.sin_port)};
    write_file(world->hosts, hosts);
    snprintf(text, sizeof(text), "# a comment\nnameserver nonsense\nnameserver 127.0.0.1\n%s\n",
             options);
    write_file(world->resolv_conf, text);
    world->server = fork();
    assert_true(world->server >= 0);
    if (world->server == 0)
        serve(world->server_fd);
}

static void tear_down(struct world *world)
{
    kill(world->server, SIGKILL);
    waitpid(world->server, NULL, 0);
    close(world->server_fd);
    unlink(world->hosts);
    unlink(world->resolv_conf);
    rmdir(world->folder);
}

static void expect(const struct world *world, const char *name, int status, const char *lines)
{
    int ends[2];
    char text[400] = "";
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(lookup_name(ends[1], name, &world->files), status);
    close(ends[1]);
    ssize_t got = read(ends[0], text, sizeof(text) - 1);
    close(ends[0]);
    assert_true(got >= 0);
    assert_string_equal(text, lines);
}

static void names_of_the_hosts_file(void **state)
{
    struct world world;
    set_up(&world,
           "# comment\n127.0.0.1 localhost\n\n10.0.0.1\tbox.local  box # its alias\n::5 box.local\n"
           "nonsense odd\n",
           "");
    expect(&world, "BOX", 0, "10.0.0.1 STREAM box.local\n");
    expect(&world, "box.local", 0, "10.0.0.1 STREAM box.local\n::5 STREAM box.local\n");
    expect(&world, "odd", 2, "");
    tear_down(&world);
}

static void names_of_the_dns(void **state)
{
    struct world world;
    set_up(&world, "", "");
    expect(&world, "www.example", 0, "192.0.2.1 STREAM www.example\n");
    expect(&world, "www.example.", 0, "192.0.2.1 STREAM www.example\n");
    expect(&world, "nobody.example", 2, "");
    expect(&world, "db", 2, "");
    expect(&world, "not a..name", 2, "");
    tear_down(&world);
}

static void names_of_the_search_list(void **state)
{
    struct world world;
    set_up(&world, "", "search nowhere.example office.example\noptions ndots:2");
    expect(&world, "db", 0, "192.0.2.2 STREAM db.office.example\n");
    expect(&world, "db.", 2, "");
    expect(&world, "www.example", 0, "192.0.2.1 STREAM www.example\n");
    tear_down(&world);
}

static void files_that_are_missing(void **state)
{
    const struct world world = {
        .files = {.hosts = "/nowhere/hosts", .resolv_conf = "/nowhere/resolv.conf", .port = 9}};
    expect(&world, "www.example", 2, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_of_the_hosts_file),
        TEST(names_of_the_dns),
        TEST(names_of_the_search_list),
        TEST(files_that_are_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
