// SPDX-License-Identifier: BSD-3-Clause
#include "peers.h"

#include <stdio.h>

#include "exchange.h"

struct bench_process peers_start_device(const struct peers *peers, const struct bench_wire *wire,
                                        const char *const options[PEERS_OPTIONS],
                                        const char *notify_path)
{
    char library[512], wire_option[64];
    snprintf(library, sizeof(library), "--library=%s", peers->library);
    snprintf(wire_option, sizeof(wire_option), "--wire=%s", wire->name);
    char *argv[] = {(char *)peers->device, "--fd=3",           library, wire_option,
                    (char *)options[0],    (char *)options[1], NULL};
    return bench_start(argv, peers->processor, notify_path);
}

static void make_exchanges(struct bench_peer *peer, const struct bench_wire *wire,
                           const struct bench_register *where)
{
    for (enum bench_access access = 0; access < BENCH_ACCESS_COUNT; access++)
        wire->make(access, where, &peer->exchanges[access]);
}

static struct bench_peer ready(const struct bench_process *process, const struct bench_wire *wire,
                               const struct bench_register *where)
{
    struct bench_peer peer = {.process = *process};
    wire->set_up(process, where);
    make_exchanges(&peer, wire, where);
    return peer;
}

struct bench_peer peers_device(const struct peers *peers, const struct bench_wire *wire,
                               const char *const options[PEERS_OPTIONS])
{
    const struct bench_process process = peers_start_device(peers, wire, options, NULL);
    return ready(&process, wire, &peers->where);
}

struct bench_peer peers_qemu(const struct peers *peers)
{
    /* BAR 1 of the 53C895A is its registers; TEMP has no side effect. */
    static const struct bench_register temp = {.bar = 1, .offset = 0x1c, .size = 4};
    char *argv[] = {(char *)peers->qemu,
                    "-nodefaults",
                    "-display",
                    "none",
                    "-machine",
                    "x-remote",
                    "-device",
                    "lsi53c895a,id=lsi",
                    "-object",
                    "x-remote-object,id=remote,devid=lsi,fd=3",
                    NULL};
    const struct bench_process process = bench_start(argv, peers->processor, NULL);
    return ready(&process, &bench_mpqemu, &temp);
}

struct bench_peer peers_floor(const struct peers *peers, const struct bench_wire *wire, bool polls)
{
    struct bench_peer peer;
    make_exchanges(&peer, wire, &peers->where);
    const struct bench_pong pong = {.polls = polls,
                                    .reply_len = peer.exchanges[BENCH_BAR_READ].reply_len};
    peer.process = bench_fork(bench_pong, &pong, peers->processor);
    return peer;
}

struct bench_peer peers_given(const struct peers *peers, const struct bench_wire *wire,
                              const char *path, const struct bench_register *where)
{
    const struct bench_process process = bench_connect(path, peers->processor);
    return ready(&process, wire, where);
}
