// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

#include "base/number.h"
#include "endpoint/hostname.h"

#define PORT_MAX 65535

int address_number(const char *text, uint32_t max, uint32_t *ret_number)
{
    uint64_t number;
    int err = number_parse(text, 10, max, &number);
    if (err == 0)
        *ret_number = (uint32_t)number;
    return err;
}

static int copy_name(const char *name, size_t len, char *ret_name)
{
    if (len == 0 || len > ADDRESS_NAME_MAX)
        return -EINVAL;
    memcpy(ret_name, name, len);
    ret_name[len] = '\0';
    return 0;
}

int address_split(const char *text, char ret_host[ADDRESS_NAME_MAX + 1], const char **ret_port)
{
    const char *host = text, *end, *port;
    if (*text == '[') {
        host = text + 1;
        end = strchr(host, ']');
        port = end && end[1] == ':' ? end + 2 : NULL;
    } else {
        end = strchr(text, ':');
        port = end ? end + 1 : NULL;
    }
    if (!port)
        return -EINVAL;
    *ret_port = port;
    return copy_name(host, (size_t)(end - host), ret_host);
}

/* An IPv6 address may name an interface: fe80::1%eth0. */
static bool is_ipv6(const char *name)
{
    struct in6_addr unused;
    char number[INET6_ADDRSTRLEN];
    size_t len = strcspn(name, "%");
    if (len >= sizeof(number) || (name[len] && !name[len + 1]))
        return false;
    memcpy(number, name, len);
    number[len] = '\0';
    return inet_pton(AF_INET6, number, &unused) == 1;
}

static bool is_host(const char *name, bool in_brackets)
{
    struct in_addr unused;
    char canonical[ADDRESS_NAME_MAX + 1];
    if (in_brackets)
        return is_ipv6(name);
    return inet_pton(AF_INET, name, &unused) == 1 || hostname_canonical(name, canonical) == 0;
}

static int parse_tcp(const char *text, struct address *address, struct ob_fault *fault)
{
    const char *port;
    address->kind = ADDRESS_TCP;
    if (address_split(text, address->name, &port) < 0)
        return ob_fault_set(fault, -EINVAL,
                            "got '%.200s', expected HOST:PORT (an IPv6 HOST in brackets)", text);
    if (strcmp(address->name, "*") != 0 && !is_host(address->name, *text == '['))
        return ob_fault_set(fault, -EINVAL, "got '%.200s', expected a host name or an %s address",
                            address->name, *text == '[' ? "IPv6" : "IPv4");
    if (address_number(port, PORT_MAX, &address->port) < 0)
        return ob_fault_set(fault, -EINVAL,
                            "'%.200s': got port '%.20s', expected a number from 0 to %d", text,
                            port, PORT_MAX);
    return 0;
}

int address_parse_path(const char *text, struct address *ret_address, struct ob_fault *fault)
{
    const size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    struct address address = {.kind = ADDRESS_UNIX};
    size_t len = strlen(text);
    if (len > max || copy_name(text, len, address.name) < 0 || strcmp(text, "@") == 0)
        return ob_fault_set(fault, -EINVAL, "'%.90s': got a path of %zu bytes, expected 1 to %zu",
                            text, len, max);
    *ret_address = address;
    return 0;
}

static int parse_vsock(const char *text, struct address *address, struct ob_fault *fault)
{
    const char *port;
    address->kind = ADDRESS_VSOCK;
    if (address_split(text, address->name, &port) < 0 ||
        address_number(address->name, UINT32_MAX, &address->cid) < 0 ||
        address_number(port, UINT32_MAX, &address->port) < 0)
        return ob_fault_set(fault, -EINVAL,
                            "got '%.200s', expected CID:PORT, two numbers (the host's CID is 2)",
                            text);
    return 0;
}

int address_parse(const char *text, struct address *ret_address, struct ob_fault *fault)
{
    static const struct {
        const char *prefix;
        int (*parse)(const char *text, struct address *address, struct ob_fault *fault);
    } kinds[] = {{"tcp:", parse_tcp}, {"unix:", address_parse_path}, {"vsock:", parse_vsock}};
    struct address address = {0};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = strlen(kinds[i].prefix);
        if (strncmp(text, kinds[i].prefix, len) != 0)
            continue;
        int err = kinds[i].parse(text + len, &address, fault);
        if (err == 0)
            *ret_address = address;
        return err;
    }
    return ob_fault_set(fault, -EINVAL,
                        "got '%.200s', expected tcp:HOST:PORT, unix:PATH or vsock:CID:PORT", text);
}

int address_parse_target(const char *text, struct address *ret_address, struct ob_fault *fault)
{
    struct address address;
    int err = address_parse(text, &address, fault);
    if (err < 0)
        return err;
    if (address.kind == ADDRESS_TCP && strcmp(address.name, "*") == 0)
        return ob_fault_set(fault, -EINVAL, "'%.200s': this address is for listeners only", text);
    if (address.kind == ADDRESS_TCP && address.port == 0)
        return ob_fault_set(fault, -EINVAL, "'%.200s': got port 0, expected 1 to %d", text,
                            PORT_MAX);
    if (address.kind == ADDRESS_VSOCK &&
        (address.cid == VMADDR_CID_HYPERVISOR || address.cid == VMADDR_CID_ANY))
        return ob_fault_set(fault, -EINVAL,
                            "'%.200s': got CID %" PRIu32
                            ", expected 2 for the host, 3 or more for a guest",
                            text, address.cid);
    if (address.kind == ADDRESS_VSOCK && address.port == VMADDR_PORT_ANY)
        return ob_fault_set(fault, -EINVAL, "'%.200s': the port must be below %u", text,
                            VMADDR_PORT_ANY);
    *ret_address = address;
    return 0;
}

int address_parse_listen(const char *text, struct address *ret_address, struct ob_fault *fault)
{
    struct address address = {.kind = ADDRESS_TCP, .name = "127.0.0.1"};
    struct sockaddr_storage kernel;
    int err = 0;
    if (*text && !text[strspn(text, "0123456789")] &&
        address_number(text, PORT_MAX, &address.port) < 0)
        return ob_fault_set(fault, -EINVAL, "got port '%.20s', expected a number from 0 to %d",
                            text, PORT_MAX);
    if (strncmp(text, "unix:", 5) == 0)
        err = address_parse_path(text + 5, &address, fault);
    else if (address_number(text, PORT_MAX, &address.port) < 0)
        err = parse_tcp(text, &address, fault);
    if (err < 0)
        return err;
    if (address.kind == ADDRESS_TCP && strcmp(address.name, "*") == 0)
        memcpy(address.name, "::", sizeof("::"));
    if (address.kind == ADDRESS_TCP && strcmp(address.name, "localhost") == 0)
        memcpy(address.name, "127.0.0.1", sizeof("127.0.0.1"));
    if (address_to_kernel(&address, &kernel) < 0)
        return ob_fault_set(
            fault, -EINVAL,
            "got the name '%.200s', expected the number of an address of this machine, or *",
            address.name);
    *ret_address = address;
    return 0;
}

void address_format(const struct address *address, char ret_text[ADDRESS_TEXT_MAX])
{
    const char *const brackets = strchr(address->name, ':') ? "[]" : "";
    switch (address->kind) {
    case ADDRESS_TCP:
        snprintf(ret_text, ADDRESS_TEXT_MAX, "tcp:%.1s%s%s:%" PRIu32, brackets, address->name,
                 *brackets ? brackets + 1 : "", address->port);
        break;
    case ADDRESS_UNIX:
        snprintf(ret_text, ADDRESS_TEXT_MAX, "unix:%s", address->name);
        break;
    case ADDRESS_VSOCK:
        snprintf(ret_text, ADDRESS_TEXT_MAX, "vsock:%" PRIu32 ":%" PRIu32, address->cid,
                 address->port);
        break;
    }
}

static int tcp_to_kernel(const struct address *address, struct sockaddr_storage *ret_kernel)
{
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)ret_kernel;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)ret_kernel;
    in_port_t port = htons((uint16_t)address->port);
    if (inet_pton(AF_INET, address->name, &ipv4->sin_addr) == 1) {
        ipv4->sin_family = AF_INET;
        ipv4->sin_port = port;
        return sizeof(*ipv4);
    }
    if (inet_pton(AF_INET6, address->name, &ipv6->sin6_addr) == 1) {
        ipv6->sin6_family = AF_INET6;
        ipv6->sin6_port = port;
        return sizeof(*ipv6);
    }
    return -ENOENT;
}

int address_to_kernel(const struct address *address, struct sockaddr_storage *ret_kernel)
{
    struct sockaddr_un *local = (struct sockaddr_un *)ret_kernel;
    struct sockaddr_vm *vsock = (struct sockaddr_vm *)ret_kernel;
    size_t len = strlen(address->name);
    memset(ret_kernel, 0, sizeof(*ret_kernel));
    switch (address->kind) {
    case ADDRESS_TCP:
        return tcp_to_kernel(address, ret_kernel);
    case ADDRESS_UNIX:
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, address->name, len);
        if (address->name[0] == '@') /* an abstract name */
            local->sun_path[0] = '\0';
        return (int)(offsetof(struct sockaddr_un, sun_path) + len);
    default:
        vsock->svm_family = AF_VSOCK;
        vsock->svm_cid = address->cid;
        vsock->svm_port = address->port;
        return sizeof(*vsock);
    }
}

void address_from_kernel(const struct sockaddr_storage *kernel, struct address *ret_address)
{
    const struct sockaddr_in *ipv4 = (const struct sockaddr_in *)kernel;
    const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)kernel;
    bool is_v6 = kernel->ss_family == AF_INET6;
    *ret_address = (struct address){.kind = ADDRESS_TCP};
    inet_ntop(kernel->ss_family,
              is_v6 ? (const void *)&ipv6->sin6_addr : (const void *)&ipv4->sin_addr,
              ret_address->name, sizeof(ret_address->name));
    ret_address->port = ntohs(is_v6 ? ipv6->sin6_port : ipv4->sin_port);
}
