// SPDX-License-Identifier: BSD-3-Clause
/* Network interfaces and routes. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/command.h"
#include "base/limits.h"
#include "base/number.h"

static unsigned count_bits(const uint8_t *bytes, size_t len)
{
    unsigned count = 0;
    for (size_t i = 0; i < len; i++)
        count += (unsigned)__builtin_popcount(bytes[i]);
    return count;
}

/* The bytes of an address, or NULL: it is of another family. */
static const void *address_bytes(const struct sockaddr *address, size_t *ret_len)
{
    if (!address)
        return NULL;
    *ret_len = address->sa_family == AF_INET ? 4 : 16;
    if (address->sa_family == AF_INET)
        return &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    if (address->sa_family == AF_INET6)
        return &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return NULL;
}

static void put_address(struct json_out *out, const struct ifaddrs *at)
{
    char text[INET6_ADDRSTRLEN];
    size_t len, mask_len;
    const void *bytes = address_bytes(at->ifa_addr, &len);
    const void *mask = address_bytes(at->ifa_netmask, &mask_len);
    if (!bytes || !inet_ntop(at->ifa_addr->sa_family, bytes, text, sizeof(text)))
        return;
    json_out_begin(out, '{');
    json_out_member_string(out, "ip-address-type", len == 4 ? "ipv4" : "ipv6");
    json_out_member_string(out, "ip-address", text);
    json_out_member_uint(out, "prefix", mask ? count_bits(mask, mask_len) : 8 * (unsigned)len);
    json_out_end(out, '}');
}

static void put_addresses(struct json_out *out, const struct ifaddrs *all, const char *name)
{
    bool begun = false;
    size_t len;
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        if (strcmp(at->ifa_name, name) != 0 || !address_bytes(at->ifa_addr, &len))
            continue;
        if (!begun) {
            json_out_name(out, "ip-addresses");
            json_out_begin(out, '[');
        }
        begun = true;
        put_address(out, at);
    }
    if (begun)
        json_out_end(out, ']');
}

static void put_statistics(struct json_out *out, const char *name)
{
    static const char *const names[][2] = {
        {"tx_packets", "tx-packets"}, {"tx_errors", "tx-errs"},     {"rx_bytes", "rx-bytes"},
        {"rx_dropped", "rx-dropped"}, {"rx_packets", "rx-packets"}, {"rx_errors", "rx-errs"},
        {"tx_bytes", "tx-bytes"},     {"tx_dropped", "tx-dropped"}};
    char path[128], text[32];
    uint64_t value;
    json_out_name(out, "statistics");
    json_out_begin(out, '{');
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", name, names[i][0]);
        if (job_read_file(path, text, sizeof(text)) < 0 ||
            number_parse(text, 10, UINT64_MAX, &value) < 0)
            value = 0;
        json_out_member_uint(out, names[i][1], value);
    }
    json_out_end(out, '}');
}

static void put_hardware_address(struct json_out *out, const struct ifaddrs *all, const char *name)
{
    char text[64] = "";
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        if (!at->ifa_addr || at->ifa_addr->sa_family != AF_PACKET ||
            strcmp(at->ifa_name, name) != 0)
            continue;
        const struct sockaddr_ll *link = (const void *)at->ifa_addr;
        for (unsigned i = 0; i < 6; i++)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%02x", i ? ":" : "",
                     link->sll_addr[i]);
        json_out_member_string(out, "hardware-address", text);
        return;
    }
}

static bool is_first(const struct ifaddrs *all, const struct ifaddrs *one)
{
    while (all != one && strcmp(all->ifa_name, one->ifa_name) != 0)
        all = all->ifa_next;
    return all == one;
}

static int get_interfaces(struct job *job)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return job_fail(job, "getifaddrs failed: %s", strerror(errno));
    json_out_begin(&job->out, '[');
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        if (!is_first(all, at))
            continue;
        json_out_begin(&job->out, '{');
        json_out_member_string(&job->out, "name", at->ifa_name);
        put_addresses(&job->out, all, at->ifa_name);
        put_statistics(&job->out, at->ifa_name);
        put_hardware_address(&job->out, all, at->ifa_name);
        json_out_end(&job->out, '}');
    }
    json_out_end(&job->out, ']');
    freeifaddrs(all);
    return 0;
}

static void put_ipv4(struct json_out *out, const char *name, uint32_t address)
{
    char text[INET_ADDRSTRLEN];
    const struct in_addr bytes = {.s_addr = address}; /* the kernel prints it as it lies */
    json_out_member_string(out, name, inet_ntop(AF_INET, &bytes, text, sizeof(text)));
}

/* A line of /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
 */
static void put_route4(struct json_out *out, const char *line)
{
    char name[IFNAMSIZ];
    uint32_t destination, gateway, flags, mask;
    int refcnt, use, metric, mtu, window, irtt;
    if (sscanf(line, "%15s %" SCNx32 " %" SCNx32 " %" SCNx32 " %d %d %d %" SCNx32 " %d %d %d", name,
               &destination, &gateway, &flags, &refcnt, &use, &metric, &mask, &mtu, &window,
               &irtt) != 11)
        return;
    json_out_begin(out, '{');
    json_out_member_string(out, "iface", name);
    put_ipv4(out, "destination", destination);
    json_out_member_int(out, "metric", metric);
    put_ipv4(out, "gateway", gateway);
    put_ipv4(out, "mask", mask);
    json_out_member_int(out, "irtt", irtt);
    json_out_member_uint(out, "flags", flags);
    json_out_member_int(out, "refcnt", refcnt);
    json_out_member_int(out, "use", use);
    json_out_member_int(out, "window", window);
    json_out_member_int(out, "mtu", mtu);
    json_out_member_int(out, "version", 4);
    json_out_end(out, '}');
}

static void put_ipv6(struct json_out *out, const char *name, const char *digits)
{
    struct in6_addr bytes;
    char text[INET6_ADDRSTRLEN];
    for (int i = 0; i < 16; i++) {
        unsigned byte = 0;
        sscanf(digits + 2 * (ptrdiff_t)i, "%2x", &byte);
        bytes.s6_addr[i] = (uint8_t)byte;
    }
    json_out_member_string(out, name, inet_ntop(AF_INET6, &bytes, text, sizeof(text)));
}

static void put_number(struct json_out *out, const char *name, unsigned number)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", number);
    json_out_member_string(out, name, text);
}

/* A line of /proc/net/ipv6_route, all hexadecimal. */
static void put_route6(struct json_out *out, const char *line)
{
    char destination[33], source[33], next[33], name[IFNAMSIZ];
    unsigned destination_len, source_len, metric, refcnt, use, flags;
    if (sscanf(line, "%32s %x %32s %x %32s %x %x %x %x %15s", destination, &destination_len, source,
               &source_len, next, &metric, &refcnt, &use, &flags, name) != 10)
        return;
    json_out_begin(out, '{');
    json_out_member_string(out, "iface", name);
    put_ipv6(out, "destination", destination);
    json_out_member_int(out, "metric", (int)metric);
    json_out_member_uint(out, "flags", flags);
    json_out_member_int(out, "refcnt", (int)refcnt);
    json_out_member_int(out, "use", (int)use);
    put_number(out, "desprefixlen", destination_len);
    put_ipv6(out, "source", source);
    put_number(out, "srcprefixlen", source_len);
    put_ipv6(out, "nexthop", next);
    json_out_member_int(out, "version", 6);
    json_out_end(out, '}');
}

static void put_routes(struct json_out *out, const char *path,
                       void (*put)(struct json_out *out, const char *line))
{
    char *line = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &size, file) > 0)
        put(out, line);
    free(line);
    if (file)
        fclose(file);
}

static int get_route(struct job *job)
{
    json_out_begin(&job->out, '[');
    put_routes(&job->out, "/proc/net/route", put_route4);
    put_routes(&job->out, "/proc/net/ipv6_route", put_route6);
    json_out_end(&job->out, ']');
    return 0;
}

const struct command commands_network[] = {
    {.name = "guest-network-get-interfaces", .limit_s = LIMIT_AGENT_QUICK_S, .run = get_interfaces},
    {.name = "guest-network-get-route", .limit_s = LIMIT_AGENT_QUICK_S, .run = get_route},
    {0}};
