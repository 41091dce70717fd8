/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk whose process dies: commands, requests of the kernel that outlive the process, and a guest
 * that polls completions and uses its buffer again at once. docs/restart.md is the text.
 *
 * The guest writes its one buffer to two blocks in turn, each time with another content. A process
 * fetches the command, has the kernel write, and completes it. It may die between any two steps. The
 * kernel writes the content that the buffer has by then.
 *
 * Claims: while no command is outstanding, both blocks hold the contents that were acknowledged last
 * (the assertion); and every command completes.
 *
 * A rule may be left out, and then the check must fail: -DFORGET_BARRIER does not wait for requests
 * of the process before, -DFORGET_INTENT writes the completion before it commits it.
 */
#ifndef COMMANDS
#define COMMANDS 4
#endif
#ifndef DEATHS
#define DEATHS 2
#endif

mtype = { FREE, FETCHED, COMPLETING };

byte buffer;         /* the guest's */
byte block[2];       /* the image's */
byte submitted;      /* the guest's tail */
byte completed;      /* entries of the completion queue; an entry that is written again is the same */

/* The vault. */
mtype k_state = FREE;
byte k_fetched, k_tail;

/* Requests of the kernel, by the life that made them and their block. */
chan requests = [DEATHS + 2] of { byte, byte };
byte ended; /* of this life */
byte life;
byte in_flight; /* of all lives */
byte deaths;

#define MAY_DIE \
    if \
    :: deaths < DEATHS -> deaths++; goto next_life \
    :: skip \
    fi

active proctype device()
{
    mtype state;
    byte fetched, tail;
next_life:
    atomic { life++; ended = 0 };
    state = k_state;
    fetched = k_fetched;
    tail = k_tail;
#ifndef FORGET_BARRIER
    in_flight == 0;
#endif
    do
    :: state == FREE && fetched < submitted ->
        fetched++;
        MAY_DIE;
        state = FETCHED;
        atomic { k_fetched = fetched; k_state = FETCHED };
        MAY_DIE
    :: state == FETCHED ->
        atomic { in_flight++; requests!life, (fetched - 1) % 2 };
        MAY_DIE;
        ended > 0;
        ended--;
        MAY_DIE;
#ifdef FORGET_INTENT
        completed = tail + 1;
        MAY_DIE;
#endif
        state = COMPLETING;
        k_state = COMPLETING;
        MAY_DIE
    :: state == COMPLETING ->
        completed = tail + 1;
        MAY_DIE;
        tail++;
        state = FREE;
        atomic { k_tail = tail; k_state = FREE };
        MAY_DIE
    :: state == FREE && tail == COMMANDS -> break
    od
}

/* Requests end in any order, and whether their process lives or not. */
active proctype kernel()
{
    byte who;
    byte where;
end:
    do
    :: atomic { len(requests) > 1 -> requests?who, where; requests!who, where } /* another first */
    :: requests?who, where ->
        block[where] = buffer;
        atomic {
            in_flight--;
            if
            :: who == life -> ended++
            :: else
            fi
        }
    od
}

active proctype guest()
{
    byte number, acknowledged[2];
    do
    :: number < COMMANDS ->
        buffer = number + 1;
        submitted++;
        completed > number;
        acknowledged[number % 2] = buffer;
        number++;
        buffer = 100;
        assert(block[0] == acknowledged[0] && block[1] == acknowledged[1])
    :: number == COMMANDS ->
        assert(block[0] == acknowledged[0] && block[1] == acknowledged[1]);
        break
    od;
    /* Nothing changes later either. */
    in_flight == 0;
    assert(block[0] == acknowledged[0] && block[1] == acknowledged[1])
}
