// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/lookup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/number.h"
#include "os/clock.h"
#include "wire/dns.h"

#define FOUND     0
#define NOT_FOUND 2

/* Bounds of resolv.conf(5). */
#define SERVERS_MAX 3
#define SEARCH_MAX  6
#define NDOTS_MAX   15

/* Each server is asked so often, and waited for so long. */
#define ATTEMPTS   2
#define TIMEOUT_NS 2000000000ull

/* The longest UDP answer to a query without extensions. */
#define ANSWER_MAX 512

struct configuration {
    struct sockaddr_storage server[SERVERS_MAX];
    unsigned servers;
    char search[SEARCH_MAX][DNS_NAME_MAX + 1];
    unsigned searches;
    uint64_t ndots;
};

static void print_address(int fd, int family, const void *address, const char *owner)
{
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(family, address, text, sizeof(text)))
        dprintf(fd, "%s STREAM %s\n", text, owner);
}

/* A line of the hosts file: an address, the host's own name, aliases. Returns whether it has the
 * name. */
static bool take_hosts_line(int fd, char *line, const char *name)
{
    uint8_t bytes[16];
    char *rest, *address, *owner, *word;
    line[strcspn(line, "#\n")] = '\0';
    address = strtok_r(line, " \t\r", &rest);
    owner = address ? strtok_r(NULL, " \t\r", &rest) : NULL;
    for (word = owner; word; word = strtok_r(NULL, " \t\r", &rest)) {
        if (strcasecmp(word, name) != 0)
            continue;
        int family = strchr(address, ':') ? AF_INET6 : AF_INET;
        if (inet_pton(family, address, bytes) != 1)
            return false;
        print_address(fd, family, bytes, owner);
        return true;
    }
    return false;
}

static bool look_into_hosts(int fd, const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    bool found = false;
    if (!file)
        return false;
    while (getline(&line, &size, file) > 0)
        found |= take_hosts_line(fd, line, name);
    fclose(file);
    return found;
}

static void add_server(struct configuration *configuration, const char *text, unsigned port)
{
    struct sockaddr_storage *server = &configuration->server[configuration->servers];
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)server;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)server;
    if (configuration->servers >= SERVERS_MAX)
        return;
    memset(server, 0, sizeof(*server));
    if (inet_pton(AF_INET, text, &ipv4->sin_addr) == 1) {
        ipv4->sin_family = AF_INET;
        ipv4->sin_port = htons((uint16_t)port);
    } else if (inet_pton(AF_INET6, text, &ipv6->sin6_addr) == 1) {
        ipv6->sin6_family = AF_INET6;
        ipv6->sin6_port = htons((uint16_t)port);
    } else {
        return;
    }
    configuration->servers++;
}

static void add_search(struct configuration *configuration, const char *domain)
{
    if (configuration->searches < SEARCH_MAX && strlen(domain) <= DNS_NAME_MAX)
        memcpy(configuration->search[configuration->searches++], domain, strlen(domain) + 1);
}

static void take_resolv_line(struct configuration *configuration, char *line, unsigned port)
{
    char *rest;
    const char *keyword = strtok_r(line, " \t\r\n", &rest);
    if (!keyword || *keyword == '#' || *keyword == ';')
        return;
    bool is_search = strcmp(keyword, "search") == 0 || strcmp(keyword, "domain") == 0;
    if (is_search)
        configuration->searches = 0; /* the last line counts */
    for (const char *word; (word = strtok_r(NULL, " \t\r\n", &rest));) {
        if (strcmp(keyword, "nameserver") == 0)
            add_server(configuration, word, port);
        else if (is_search)
            add_search(configuration, word);
        else if (strcmp(keyword, "options") == 0 && strncmp(word, "ndots:", 6) == 0)
            number_parse(word + 6, 10, NDOTS_MAX, &configuration->ndots);
    }
}

static void read_resolv_conf(const struct lookup_files *files, struct configuration *configuration)
{
    FILE *file = fopen(files->resolv_conf, "re");
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    while (file && getline(&line, &size, file) > 0)
        take_resolv_line(configuration, line, files->port);
    if (file)
        fclose(file);
    if (configuration->servers == 0)
        add_server(configuration, "127.0.0.1", files->port);
}

/* Waits for the answer to the query on a connected socket. 0, -ETIMEDOUT, or a negative errno. */
static int await_answer(int fd, const uint8_t *query, size_t query_len,
                        struct dns_answer *ret_answer)
{
    uint64_t end = clock_now_ns() + TIMEOUT_NS;
    for (uint64_t now; (now = clock_now_ns()) < end;) {
        uint8_t bytes[ANSWER_MAX];
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int count = poll(&ready, 1, (int)((end - now) / 1000000 + 1));
        if (count < 0 && errno != EINTR)
            return -errno;
        if (count <= 0)
            continue;
        ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (got > 0 && dns_get_answer(bytes, (size_t)got, query, query_len, ret_answer) == 0)
            return 0;
    }
    return -ETIMEDOUT;
}

/* Asks one server once. 0, -EINVAL (no name of the DNS), or another negative errno. */
static int ask_server(const struct sockaddr_storage *server, const char *name, enum dns_type type,
                      struct dns_answer *ret_answer)
{
    uint8_t query[DNS_QUERY_MAX];
    uint16_t id;
    if (getrandom(&id, sizeof(id), 0) != sizeof(id))
        return -EIO;
    ssize_t len = dns_put_query(name, type, id, query);
    if (len < 0)
        return (int)len;
    AUTO_FD fd = socket(server->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)server, sizeof(*server)) < 0 ||
        send(fd, query, (size_t)len, MSG_NOSIGNAL) != len)
        return -errno;
    return await_answer(fd, query, (size_t)len, ret_answer);
}

/* Asks the servers one after the other until one of them knows. 0 or a negative errno. */
static int ask(const struct configuration *configuration, const char *name, enum dns_type type,
               struct dns_answer *ret_answer)
{
    int err = -EIO;
    for (unsigned i = 0; i < configuration->servers * ATTEMPTS && err != -EINVAL; i++) {
        const struct sockaddr_storage *server = &configuration->server[i % configuration->servers];
        err = ask_server(server, name, type, ret_answer);
        if (err == 0 && (ret_answer->code == DNS_NO_ERROR || ret_answer->code == DNS_NO_SUCH_NAME))
            return 0;
    }
    return err == 0 ? -EIO : err;
}

/* Asks for both kinds of addresses. Returns how many there were. */
static unsigned look_up_exactly(int fd, const struct configuration *configuration, const char *name)
{
    static const struct {
        enum dns_type type;
        int family;
    } kinds[] = {{DNS_A, AF_INET}, {DNS_AAAA, AF_INET6}};
    unsigned found = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct dns_answer answer;
        if (ask(configuration, name, kinds[i].type, &answer) < 0 || answer.code == DNS_NO_SUCH_NAME)
            break; /* of no kind, then */
        for (unsigned j = 0; j < answer.count; j++)
            print_address(fd, kinds[i].family, answer.address[j], answer.owner);
        found += answer.count;
    }
    return found;
}

static bool look_up_searching(int fd, const struct configuration *configuration, const char *name)
{
    for (unsigned i = 0; i < configuration->searches; i++) {
        char whole[2 * DNS_NAME_MAX + 2];
        snprintf(whole, sizeof(whole), "%s.%s", name, configuration->search[i]);
        if (look_up_exactly(fd, configuration, whole) > 0)
            return true;
    }
    return false;
}

int lookup_name(int fd, const char *name, const struct lookup_files *files)
{
    struct configuration configuration = {.ndots = 1};
    uint64_t dots = 0;
    if (look_into_hosts(fd, files->hosts, name))
        return FOUND;
    read_resolv_conf(files, &configuration);
    for (const char *at = name; *at; at++)
        dots += *at == '.';
    bool is_absolute = *name && name[strlen(name) - 1] == '.';
    if (!is_absolute && dots < configuration.ndots && look_up_searching(fd, &configuration, name))
        return FOUND;
    if (look_up_exactly(fd, &configuration, name) > 0)
        return FOUND;
    if (!is_absolute && dots >= configuration.ndots && look_up_searching(fd, &configuration, name))
        return FOUND;
    return NOT_FOUND;
}
