// SPDX-License-Identifier: BSD-3-Clause
/* The register bench over mpqemu, in the dialect that QEMU ships. */
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "exchange.h"
#include "os/socket.h"
#include "wire/mpqemu.h"

#define PROGRAMMED_BAR 0xfe000000u
#define MEMORY_LEN     (1u << 20)

static struct bench_exchange exchange_of(enum mpqemu_command command, size_t len)
{
    struct bench_exchange exchange = {.request_len = MPQEMU_HEADER_LEN + len,
                                      .reply_len = MPQEMU_HEADER_LEN + MPQEMU_RET_LEN};
    const struct mpqemu_header header = {
        .number = (uint32_t)mpqemu_command_number(MPQEMU_SHIPPED, command), .size = len};
    mpqemu_header_put(exchange.request, MPQEMU_HEADER_LEN, &header);
    return exchange;
}

static struct bench_exchange config_exchange(enum mpqemu_command command, uint32_t offset,
                                             uint32_t len, uint32_t value)
{
    struct bench_exchange exchange = exchange_of(command, MPQEMU_CONFIG_LEN);
    const struct mpqemu_config_access access = {.offset = offset, .value = value, .len = len};
    mpqemu_config_put(exchange.request + MPQEMU_HEADER_LEN, MPQEMU_CONFIG_LEN, &access);
    return exchange;
}

static struct bench_exchange bar_read_exchange(uint64_t address, uint32_t size)
{
    struct bench_exchange exchange = exchange_of(MPQEMU_BAR_READ, MPQEMU_BAR_LEN);
    const struct mpqemu_bar_access access = {.address = address, .size = size, .memory = 1};
    mpqemu_bar_put(exchange.request + MPQEMU_HEADER_LEN, MPQEMU_BAR_LEN, &access);
    return exchange;
}

static void make(enum bench_access access, const struct bench_register *where,
                 struct bench_exchange *ret_exchange)
{
    *ret_exchange = access == BENCH_CONFIG_READ
                        ? config_exchange(MPQEMU_CONFIG_READ, 0, 4, 0)
                        : bar_read_exchange(PROGRAMMED_BAR + where->offset, where->size);
}

static uint64_t value_of(int fd, const struct bench_exchange *exchange)
{
    uint8_t reply[BENCH_REPLY_MAX];
    uint64_t value;
    bench_round_trip(fd, exchange, false, reply);
    memcpy(&value, reply + MPQEMU_HEADER_LEN, sizeof(value));
    return value;
}

static void publish_memory(int fd)
{
    struct bench_exchange exchange = exchange_of(MPQEMU_SYNC_SYSMEM, MPQEMU_UNION_LEN);
    struct mpqemu_sysmem sysmem = {.sizes = {MEMORY_LEN}};
    mpqemu_sysmem_put(exchange.request + MPQEMU_HEADER_LEN, MPQEMU_UNION_LEN, &sysmem);
    int memory = memfd_create("bench-ram", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, MEMORY_LEN) < 0)
        bench_die("no memory to share: %s", strerror(errno));
    if (socket_send(fd, exchange.request, exchange.request_len, memory) !=
        (ssize_t)exchange.request_len)
        bench_die("the memory table was not taken");
    close(memory);
}

/* Memory, the BAR's address, decoding on. */
static void set_up(const struct bench_process *process, const struct bench_register *where)
{
    const struct bench_exchange ids = config_exchange(MPQEMU_CONFIG_READ, 0x00, 4, 0);
    const struct bench_exchange program =
        config_exchange(MPQEMU_CONFIG_WRITE, 0x10 + 4 * where->bar, 4, PROGRAMMED_BAR);
    const struct bench_exchange enable = config_exchange(MPQEMU_CONFIG_WRITE, 0x04, 2, 0x0006);
    publish_memory(process->fd);
    /* QEMU answers what waits on the socket before its own first reset, which would undo what
     * follows; once it sleeps it has answered and is past that. */
    value_of(process->fd, &ids);
    bench_wait_asleep(process->pid);
    value_of(process->fd, &program);
    value_of(process->fd, &enable);
    struct bench_exchange bar_read;
    make(BENCH_BAR_READ, where, &bar_read);
    if (value_of(process->fd, &bar_read) == UINT64_MAX)
        bench_die("the device does not answer at its BAR");
}

const struct bench_wire bench_mpqemu = {.name = "mpqemu", .set_up = set_up, .make = make};
