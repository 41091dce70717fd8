/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hand-over of a wire from a device process that dies to the next one: messages, the vault, and
 * death between any two steps. docs/restart.md is the text.
 *
 * A VMM sends REQUESTS requests, up to two at a time. A process receives them, changes its state,
 * answers with the state, and sends the answer. It may die DEATHS times, at any place. A receive or
 * a send is one step of the kernel's with the length that it writes.
 *
 * Claims (assertions, and that every run ends with all answers):
 * - Each request changes the state once.
 * - Each answer arrives once, in order, with the state of its request.
 *
 * A rule may be left out, and then the check must fail: -DFORGET_ARMED does not count a call that
 * was cut short, -DFORGET_CLEAR leaves the length of the call before, -DFORGET_COMMIT commits the
 * state and what was consumed one after the other, -DFORGET_ORDER sends before it commits.
 */
#ifndef REQUESTS
#define REQUESTS 3
#endif
#ifndef DEATHS
#define DEATHS 2
#endif

typedef Transfer {
    byte base, total, length;
    bool armed;
};

/* The vault. */
Transfer rx, tx;
byte k_consumed, k_produced, k_state;
byte answer[REQUESTS + 2]; /* the buffer of answers, by number */

byte unread;                                 /* requests in the socket */
chan answers = [REQUESTS + DEATHS] of { byte }; /* those that were sent */
byte deaths;

#define MAY_DIE \
    if \
    :: deaths < DEATHS -> deaths++; goto next_life \
    :: skip \
    fi

/* The process before has died: its last call counts. Each step may be done again. */
#ifdef FORGET_ARMED
#define SETTLE(t) t.armed = false
#else
#define SETTLE(t) \
    if \
    :: t.armed -> t.total = t.base + t.length; t.armed = false \
    :: else \
    fi
#endif

#ifdef FORGET_CLEAR
#define ARM(t) t.base = t.total; MAY_DIE; t.armed = true; MAY_DIE
#else
#define ARM(t) t.base = t.total; MAY_DIE; t.length = 0; MAY_DIE; t.armed = true; MAY_DIE
#endif

#define DISARM(t) t.total = t.base + t.length; MAY_DIE; t.armed = false

active proctype device()
{
    byte state, consumed, produced;
next_life:
    SETTLE(rx);
    SETTLE(tx);
    state = k_state;
    consumed = k_consumed;
    produced = k_produced;
    do
    :: consumed < rx.total ->
        state++;
        MAY_DIE;
        answer[produced] = state;
        MAY_DIE;
#ifdef FORGET_ORDER
        answers!state;
        MAY_DIE;
        atomic { tx.total = produced + 1 };
        MAY_DIE;
#endif
#ifdef FORGET_COMMIT
        k_state = state;
        MAY_DIE;
#endif
        atomic {
            k_state = state;
            k_consumed = consumed + 1;
            k_produced = produced + 1
        };
        consumed++;
        produced++;
        MAY_DIE
    :: tx.total < produced ->
        ARM(tx);
        atomic { answers!answer[tx.total]; tx.length = 1 };
        MAY_DIE;
        DISARM(tx)
    :: unread > 0 ->
        ARM(rx);
        atomic { rx.length = unread; unread = 0 };
        MAY_DIE;
        DISARM(rx)
    :: consumed == REQUESTS && tx.total == REQUESTS -> break
    od
}

active proctype vmm()
{
    byte sent, got, value;
    do
    :: sent < REQUESTS && sent - got < 2 -> atomic { unread++; sent++ }
    :: answers?value -> got++; assert(value == got)
    :: got == REQUESTS -> break
    od;
    assert(k_state == REQUESTS)
}
