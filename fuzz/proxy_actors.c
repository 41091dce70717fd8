// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_world.h"

#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/un.h>

#define CHUNK 4096

static uint8_t speech_byte(int number, uint64_t at)
{
    return (uint8_t)((uint64_t)number + 7 * at + 3 * (at >> 8));
}

int speaker_new(void)
{
    return world.num_speakers < SPEAKERS ? world.num_speakers++ : -1;
}

size_t speaker_fill(int number, uint8_t *ret_bytes, size_t len)
{
    if (number < 0 || world.speakers[number].ended)
        return 0;
    for (size_t i = 0; i < len; i++)
        ret_bytes[i] = speech_byte(number, world.speakers[number].said + i);
    return len;
}

void speaker_said(int number, size_t len)
{
    world.speakers[number].said += len;
}

void speaker_ends(int number)
{
    if (number >= 0)
        world.speakers[number].ended = true;
}

void ear_hears(struct ear *ear, const uint8_t *bytes, size_t len)
{
    if (world.tainted || len == 0)
        return;
    if (ear->hears < 0)
        ear->hears = bytes[0];
    CHECK(ear->hears < world.num_speakers);
    for (size_t i = 0; i < len; i++)
        CHECK(bytes[i] == speech_byte(ear->hears, ear->heard + i));
    ear->heard += len;
    CHECK(ear->heard <= world.speakers[ear->hears].said);
}

/* An end that is no reset comes behind all that was said. */
void ear_hears_end(const struct ear *ear)
{
    if (world.tainted || ear->hears < 0)
        return;
    CHECK(world.speakers[ear->hears].ended);
    CHECK(world.speakers[ear->hears].said == ear->heard);
}

struct actor *actor_new(enum role role, struct end *in, struct end *out)
{
    for (int i = 0; i < ACTORS; i++) {
        struct actor *actor = &world.actors[i];
        if (actor->role != ACTOR_NONE)
            continue;
        *actor =
            (struct actor){.role = role, .in = in, .out = out, .speaker = -1, .ear = {.hears = -1}};
        if (role == ACTOR_TALKER)
            actor->speaker = speaker_new();
        return actor;
    }
    return NULL;
}

struct actor *actor_pick(uint8_t choice)
{
    for (int i = 0; i < ACTORS; i++) {
        struct actor *actor = &world.actors[(choice + i) % ACTORS];
        if (actor->role != ACTOR_NONE)
            return actor;
    }
    return NULL;
}

static bool is_at(const struct descriptor *descriptor, const char *path)
{
    struct sockaddr_un address;
    memcpy(&address, &descriptor->address, sizeof(address));
    return address.sun_family == AF_UNIX && strcmp(address.sun_path, path) == 0;
}

static bool is_for_talkers(const struct descriptor *descriptor)
{
    struct sockaddr_in address;
    memcpy(&address, &descriptor->address, sizeof(address));
    return is_at(descriptor, PATH_FWD) ||
           (address.sin_family == AF_INET && ntohs(address.sin_port) % 1000 == PORT_FWD % 1000);
}

/* The next listener from a chosen descriptor on. */
static int pick_listener(uint8_t choice)
{
    for (unsigned i = 0; i < KERNEL_FDS; i++) {
        unsigned index = (i + choice) % KERNEL_FDS;
        if (kernel.table[index].kind == DESCRIPTOR_LISTENER)
            return (int)index + KERNEL_FD_FIRST;
    }
    return -1;
}

void actor_comes(uint8_t choice)
{
    int fd = pick_listener(choice);
    struct end *end = fd < 0 ? NULL : kernel_visit(fd);
    if (!end)
        return;
    const struct descriptor *descriptor = kernel_find(fd);
    enum role role = is_for_talkers(descriptor) ? ACTOR_TALKER : ACTOR_GUEST;
    if (!actor_new(role, end, end))
        end_release(end);
}

static void forget_if_gone(struct actor *actor)
{
    if (!actor->in && !actor->out && !actor->child)
        actor->role = ACTOR_NONE;
}

void actor_close(struct actor *actor, bool abruptly)
{
    if (actor->child) {
        child_ends(actor->child, abruptly ? SIGKILL : 0);
        return;
    }
    speaker_ends(actor->speaker);
    if (actor->out)
        actor->out->abrupt = abruptly;
    end_release(actor->in);
    if (actor->out != actor->in)
        end_release(actor->out);
    actor->in = actor->out = NULL;
    forget_if_gone(actor);
}

/* A command of which both streams are one socket talks; one that is run has frames around it. */
void child_begins(struct child *child)
{
    bool talks =
        child->ends[0] && child->ends[0] == child->ends[1] && child->ends[0]->kind == END_UNIX;
    enum role role = child->resolves ? ACTOR_RESOLVER : talks ? ACTOR_TALKER : ACTOR_GUEST;
    struct actor *actor = actor_new(role, NULL, NULL);
    child->actor = actor;
    if (actor)
        actor->child = child;
    else
        child_ends(child, 0);
}

void child_falls_silent(struct child *child)
{
    const struct actor *actor = child->actor;
    if (actor)
        speaker_ends(actor->speaker);
}

void child_is_gone(struct child *child)
{
    struct actor *actor = child->actor;
    if (!actor)
        return;
    actor->child = NULL;
    forget_if_gone(actor);
}

static struct end *output_of(const struct actor *actor, uint8_t choice)
{
    if (!actor->child)
        return actor->out;
    return choice & 1 && actor->role == ACTOR_GUEST ? actor->child->ends[2] : actor->child->ends[1];
}

static struct end *input_of(const struct actor *actor)
{
    return actor->child ? actor->child->ends[0] : actor->in;
}

static void say(struct actor *actor, size_t len)
{
    static uint8_t bytes[CHUNK];
    struct end *end = output_of(actor, 0);
    if (!end || end->shut)
        return;
    len = speaker_fill(actor->speaker, bytes, len < CHUNK ? len : CHUNK);
    ssize_t put = end_write(end, bytes, len);
    if (put > 0)
        speaker_said(actor->speaker, (size_t)put);
}

/* Only TCP can tell a reset from an end. Returns whether there was any. */
static bool hear(struct actor *actor, size_t len)
{
    static uint8_t bytes[CHUNK];
    struct end *end = input_of(actor);
    if (!end)
        return false;
    bool can_tell = end->kind == END_TCP && !end->was_reset;
    ssize_t got = end_read(end, bytes, len < CHUNK ? len : CHUNK, false);
    if (actor->role != ACTOR_TALKER)
        return got > 0;
    if (got > 0)
        ear_hears(&actor->ear, bytes, (size_t)got);
    else if (got == 0 && len > 0 && can_tell)
        ear_hears_end(&actor->ear);
    return got > 0;
}

static void shut(struct actor *actor)
{
    struct end *end = output_of(actor, 0);
    if (!end)
        return;
    speaker_ends(actor->speaker);
    if (end->kind <= END_UNIX)
        end_shutdown(end);
}

static void say_raw(struct actor *actor, const void *bytes, size_t len, uint8_t choice)
{
    struct end *end = output_of(actor, choice);
    if (end && actor->role != ACTOR_TALKER)
        end_write(end, bytes, len);
}

/* What guests say to get somewhere: control lines, SOCKS, what a resolver prints. */
static void say_line(struct actor *actor, uint8_t choice)
{
#define LINE(text)                                                                                 \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    static const struct {
        const char *text;
        size_t len;
    } lines[] = {
        LINE("OPEN other\n"),
        LINE("RUN @run\n"),
        LINE("STATUS\n"),
        LINE("STATUS json\n"),
        LINE("PING\n"),
        LINE("WAIT\n"),
        LINE("OPEN \n"),
        LINE("junk\n"),
        LINE("\5\1\0"),
        LINE("\5\1\0\5\1\0\3\4host\0\120"),
        LINE("\5\1\0\5\1\0\1\177\0\0\1\0\120"),
        LINE("\5\1\0\3\4host\0\120"),
        LINE("\5\1\0\1\12\0\0\1\0\120"),
        LINE("\5\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\120"),
        LINE("\5\1\2"),
        LINE("\5\2\0\1\12\0\0\1\0\120"),
        LINE("127.0.0.1 STREAM host\n::1 STREAM\n10.0.0.1 STREAM\n"),
        LINE("::1 STREAM host\n10.1.2.3 DGRAM\n"),
        LINE("\0\0OUTBOARD"),
    };
#undef LINE
    choice %= sizeof(lines) / sizeof(lines[0]);
    say_raw(actor, lines[choice].text, lines[choice].len, 0);
}

void actor_act(struct actor *actor, uint8_t what)
{
    static const int statuses[] = {0, 2 << 8, 127 << 8, SIGSEGV, 1 << 8};
    const uint8_t *bytes;
    size_t len;
    switch (what) {
    case 0:
        say(actor, 1 + world_next() * (size_t)5);
        break;
    case 1:
        hear(actor, 1 + world_next() * (size_t)5);
        break;
    case 2:
        shut(actor);
        break;
    case 3:
        actor_close(actor, world_next() & 1);
        break;
    case 4:
        len = world_take(world_next(), &bytes);
        say_raw(actor, bytes, len, world_next());
        break;
    case 5:
        say_line(actor, world_next());
        break;
    case 6:
        if (actor->child)
            child_ends(actor->child, statuses[world_next() % 5]);
        break;
    default:
        if (actor->child)
            child_close(actor->child, world_next() % 3);
    }
}

/* Hears all, says no more, and goes away once the other does; a guest may have to go first. */
void actor_settle(struct actor *actor, bool is_late)
{
    while (hear(actor, CHUNK))
        ;
    if (actor->child) {
        child_ends(actor->child, 0);
        return;
    }
    shut(actor);
    bool is_done = actor->in && actor->in->ended && actor->in->len == 0;
    if (is_done || (is_late && actor->role == ACTOR_GUEST))
        actor_close(actor, false);
}

void actors_finish(void)
{
    for (int i = 0; i < ACTORS; i++) {
        struct actor *actor = &world.actors[i];
        if (actor->role == ACTOR_NONE)
            continue;
        while (hear(actor, CHUNK))
            ;
        actor_close(actor, false);
    }
}
