/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake with a key, version 2 of the session protocol: two ends that have it, of which the
 * first is resumed once more from a snapshot, and an attacker who has not. docs/session-protocol.md,
 * "Authentication", is the text, src/session/handshake.c the code.
 *
 * The attacker reads every message, sends any greeting without a proof, and sends again what it has
 * recorded, INJECTIONS times in all. A proof covers the whole HELLO_ACK, so a proven message is repeated as it was or not at
 * all. `epoch` is of no end: it tells when a proof was made.
 *
 * Claims, as assertions:
 * - At the end that was resumed a session stands only by a proof that was made since then (no replay).
 * - A session that stands is ended by no greeting without a proof.
 *
 * -DFORGET_DRAW (the challenge is drawn before the peer is heard, so the snapshot has it),
 * -DFORGET_CHALLENGE (the challenge is not compared) and -DFORGET_GUARD (a greeting ends a session as
 * it does without a key) each leave out a rule; -DREACH claims that no session stands after the
 * machine was resumed. The checks must then fail. tests/models runs them all.
 */
#ifndef INJECTIONS
#define INJECTIONS 1
#endif

#define ENDS      2
#define IN_FLIGHT 2
#define FIRST     1 /* nonces: of end 0, of end 1, of the attacker */
#define STRANGE   3
#define RECORDS   2
#define DRAWN_MAX 40

mtype = { HELLO, HELLO_ACK };

/* type, sender's nonce, peer's nonce, challenge, peer's challenge, proven, epoch of the proof */
chan to[ENDS] = [IN_FLIGHT] of { mtype, byte, byte, byte, byte, bool, byte };

typedef Peer {
    byte nonce;
    byte ours;   /* the challenge that we drew for it */
    byte theirs; /* its challenge for us, 0: not known */
    bool owed;   /* a HELLO_ACK */
};

typedef End {
    bool up;
    bool owes_hello;
};
End end[ENDS];

/* Of each end: its peer, and while a session stands who claims to be that. */
Peer known[2 * ENDS];

#define PEER(i)     (2 * (i))
#define STRANGER(i) (2 * (i) + 1)

typedef Record {
    byte from, nonce, peer, ours, theirs, epoch;
};
Record record[RECORDS];

byte records = 0;
byte injections = INJECTIONS;
byte drawn = 1; /* challenges; 1 is the one that lies in the snapshot */
byte epoch = 0;

#define NONCE(i) (FIRST + (i))

inline draw(ret)
{
#ifdef FORGET_DRAW
    ret = 1;
#else
    assert(drawn < DRAWN_MAX);
    drawn++;
    ret = drawn;
#endif
}

inline forget(k)
{
    known[k].nonce = 0;
    known[k].ours = 0;
    known[k].theirs = 0;
    known[k].owed = false;
}

inline meet(k, n)
{
    if
    :: known[k].nonce != n ->
        known[k].nonce = n;
        known[k].theirs = 0;
        known[k].owed = true;
        draw(known[k].ours)
    :: else
    fi
}

inline stand(i, when)
{
    assert(i == 1 || when == epoch);
#ifdef REACH
    assert(epoch == 0);
#endif
    end[i].up = true;
    end[i].owes_hello = false;
    forget(STRANGER(i));
}

/* The session that stood is over, and the stranger has its place. */
inline change(i, proven, when)
{
    assert(proven);
    known[PEER(i)].nonce = known[STRANGER(i)].nonce;
    known[PEER(i)].ours = known[STRANGER(i)].ours;
    known[PEER(i)].theirs = known[STRANGER(i)].theirs;
    known[PEER(i)].owed = true;
    stand(i, when)
}

inline take_hello(i, n)
{
    if
    :: n == NONCE(i) /* an echo */
    :: n != NONCE(i) && end[i].up && n != known[PEER(i)].nonce ->
#ifdef FORGET_GUARD
        assert(false);
#endif
        meet(STRANGER(i), n);
        known[STRANGER(i)].owed = true
    :: else ->
        meet(PEER(i), n);
        known[PEER(i)].owed = true
    fi
}

inline note(k, c)
{
    if
    :: known[k].theirs != c -> known[k].theirs = c; known[k].owed = true
    :: else
    fi
}

#ifdef FORGET_CHALLENGE
#define ANSWERS(k, q, proven) (q != 0 && proven)
#else
#define ANSWERS(k, q, proven) (q == known[k].ours && proven)
#endif

inline take_ack(i, n, p, c, q, proven, when)
{
    if
    :: n == NONCE(i) || p != NONCE(i) /* an echo, or not for us */
    :: n != NONCE(i) && p == NONCE(i) && end[i].up && n != known[PEER(i)].nonce ->
        meet(STRANGER(i), n);
        note(STRANGER(i), c);
        if
        :: ANSWERS(STRANGER(i), q, proven) -> change(i, proven, when)
        :: else
        fi
    :: else ->
        meet(PEER(i), n);
        note(PEER(i), c);
        if
        :: !end[i].up && ANSWERS(PEER(i), q, proven) -> stand(i, when)
        :: else
        fi
    fi
}

proctype Reader(byte i)
{
    byte n, p, c, q, when;
    bool proven;

end_of_life:
    do
    :: atomic { to[i]?HELLO(n, p, c, q, proven, when) -> take_hello(i, n) }
    :: atomic { to[i]?HELLO_ACK(n, p, c, q, proven, when) -> take_ack(i, n, p, c, q, proven, when) }
    od
}

/* The attacker keeps what it wants to keep. */
inline eavesdrop(i, k)
{
    if
    :: known[k].theirs != 0 && records < RECORDS ->
        record[records].from = i;
        record[records].nonce = NONCE(i);
        record[records].peer = known[k].nonce;
        record[records].ours = known[k].ours;
        record[records].theirs = known[k].theirs;
        record[records].epoch = epoch;
        records++
    :: true
    fi
}

inline send_ack(i, k)
{
    to[1 - i]!HELLO_ACK(NONCE(i), known[k].nonce, known[k].ours, known[k].theirs, known[k].theirs != 0, epoch);
    known[k].owed = false;
    eavesdrop(i, k)
}

proctype Writer(byte i)
{
end_of_life:
    do
    :: atomic { known[PEER(i)].owed && nfull(to[1 - i]) -> send_ack(i, PEER(i)) }
    :: atomic { known[STRANGER(i)].owed && nfull(to[1 - i]) -> send_ack(i, STRANGER(i)) }
    :: atomic { end[i].owes_hello && nfull(to[1 - i]) ->
        to[1 - i]!HELLO(NONCE(i), 0, 0, 0, false, 0);
        end[i].owes_hello = false }
    od
}

/* The machine of end 0 is resumed a second time: its memory is that of the first time. */
proctype Resume()
{
    atomic {
        epoch++;
        end[0].up = false;
        end[0].owes_hello = true;
        forget(PEER(0));
        forget(STRANGER(0));
    }
}

inline forge(i)
{
    if
    :: to[i]!HELLO(STRANGE, 0, 0, 0, false, 0)
    :: to[i]!HELLO(NONCE(1 - i), 0, 0, 0, false, 0)
    :: to[i]!HELLO_ACK(STRANGE, NONCE(i), 1, 0, false, 0)
    :: to[i]!HELLO_ACK(STRANGE, NONCE(i), 1, known[STRANGER(i)].ours, false, 0)
    :: to[i]!HELLO_ACK(NONCE(1 - i), NONCE(i), 1, known[PEER(i)].ours, false, 0)
    fi
}

inline replay(r)
{
    to[1 - record[r].from]!HELLO_ACK(record[r].nonce, record[r].peer, record[r].ours,
        record[r].theirs, true, record[r].epoch)
}

proctype Attacker()
{
    do
    :: atomic { injections > 0 && nfull(to[0]) -> forge(0); injections-- }
    :: atomic { injections > 0 && nfull(to[1]) -> forge(1); injections-- }
    :: atomic { injections > 0 && records > 0 && nfull(to[1 - record[0].from]) ->
        replay(0); injections-- }
    :: atomic { injections > 0 && records > 1 && nfull(to[1 - record[1].from]) ->
        replay(1); injections-- }
    :: break
    od
}

init {
    atomic {
        end[0].owes_hello = true;
        end[1].owes_hello = true;
        run Reader(0); run Writer(0);
        run Reader(1); run Writer(1);
        run Resume();
        run Attacker()
    }
}
