/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session protocol's handshake: two ends that restart, a line that loses frames and that
 * brings some of an older life. docs/session-protocol.md is the text, src/session/handshake.c the code.
 *
 * A frame carries the sender's nonce, the peer's nonce as the sender knows it, and a sequence
 * number. The two nonces of a DATA frame stand for the session's tag. Faults are bounded: every end
 * may lose its memory RESTARTS times, the line loses LOSSES frames and brings STALE frames of an
 * older life, at any time.
 *
 * Claims:
 * - No DATA of one session is delivered in another, and none out of order (the assertions).
 * - Once the faults are over, a session comes to stand and stays, and what each application was
 *   told is that very session (ltl stands): so each has learnt of every break before it.
 *
 * -DFORGET_TAG, -DFORGET_SEQUENCE, -DFORGET_RESTART and -DFORGET_ORDER each leave out one rule; the
 * checks must then fail. tests/models runs them all.
 */
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef STALE
#define STALE 1
#endif

#define ENDS         2
#define ON_THE_LINE  2  /* frames in flight in one direction */
#define DATA_FRAMES  2  /* that an end sends in a session */
#define OLD_NONCE    1  /* of lives before this run */
#define OLDER_NONCE  2
#define FIRST_NONCE  3
#define MANY_NONCES  60 /* never drawn, unless the ends restart each other for ever */

mtype = { HELLO, HELLO_ACK, DATA };

/* type, sender's nonce, peer's nonce, sequence number */
chan line[ENDS] = [ON_THE_LINE] of { mtype, byte, byte, byte };

byte next_nonce = FIRST_NONCE;
byte losses = LOSSES;
byte stale = STALE;

typedef End {
    byte nonce;
    byte peer;       /* the peer's nonce, 0: not known */
    bool up;
    bool owes_hello;
    bool owes_ack;
    byte sent;       /* DATA frames in this session */
    byte received;
    byte told_nonce; /* the session that the application knows of, 0: none */
    byte told_peer;
    byte restarts;
};
End end[ENDS];

#define AGREED(a, b) (end[a].up && end[a].nonce == end[b].peer && \
    end[a].told_nonce == end[a].nonce && end[a].told_peer == end[a].peer)

inline greet(i)
{
    assert(next_nonce < MANY_NONCES);
    end[i].nonce = next_nonce;
    next_nonce++;
    end[i].peer = 0;
    end[i].up = false;
    end[i].owes_hello = true;
    end[i].owes_ack = false;
    end[i].sent = 0;
    end[i].received = 0;
}

/* The session is over, and the application is told so. */
inline over(i)
{
    end[i].told_nonce = 0;
    end[i].told_peer = 0;
    greet(i);
}

inline stand(i, n)
{
    if
    :: end[i].peer != n -> end[i].owes_ack = true
    :: else
    fi;
    end[i].peer = n;
    end[i].up = true;
    end[i].owes_hello = false;
    end[i].told_nonce = end[i].nonce;
    end[i].told_peer = n;
}

inline take_hello(i, n)
{
    if
#ifndef FORGET_RESTART
    :: end[i].up && n != end[i].peer -> over(i)
#endif
    :: else
    fi;
    end[i].peer = n;
    end[i].owes_ack = true;
}

inline take_ack(i, n, p)
{
    if
    :: p != end[i].nonce /* the answer to an earlier life of ours */
    :: p == end[i].nonce && !end[i].up -> stand(i, n)
    :: p == end[i].nonce && end[i].up && n != end[i].peer -> over(i)
    :: else
    fi
}

inline deliver(i, n, p, s)
{
    assert(n == end[i].told_peer && p == end[i].told_nonce);
    assert(s == end[i].received);
    end[i].received++;
}

inline take_data(i, n, p, s)
{
    if
#ifdef FORGET_TAG
    :: !end[i].up
#else
    :: !end[i].up || n != end[i].peer || p != end[i].nonce /* of another session */
#endif
    :: else ->
        if
#ifndef FORGET_SEQUENCE
        :: s != end[i].received -> over(i) /* frames are missing */
#endif
        :: else -> deliver(i, n, p, s)
        fi
    fi
}

/* What an end does with what it reads, whatever it has to write. */
proctype Reader(byte i)
{
    byte n, p, s;

end_of_life:
    do
    :: atomic { line[1 - i]?HELLO(n, p, s) -> take_hello(i, n) }
    :: atomic { line[1 - i]?HELLO_ACK(n, p, s) -> take_ack(i, n, p) }
    :: atomic { line[1 - i]?DATA(n, p, s) -> take_data(i, n, p, s) }
    od
}

/* What an end writes. A HELLO_ACK that is owed goes before DATA: the peer can't take that sooner. */
proctype Writer(byte i)
{
end_of_life:
    do
    :: atomic { end[i].owes_ack && nfull(line[i]) ->
        line[i]!HELLO_ACK(end[i].nonce, end[i].peer, 0);
        end[i].owes_ack = false }
    :: atomic { end[i].owes_hello && !end[i].owes_ack && nfull(line[i]) ->
        line[i]!HELLO(end[i].nonce, 0, 0);
        end[i].owes_hello = false }
    :: atomic {
#ifdef FORGET_ORDER
        end[i].up && end[i].sent < DATA_FRAMES && nfull(line[i]) ->
#else
        end[i].up && end[i].sent < DATA_FRAMES && nfull(line[i]) && !end[i].owes_ack ->
#endif
        line[i]!DATA(end[i].nonce, end[i].peer, end[i].sent);
        end[i].sent++ }
    od
}

/* A greeting that brought no session is repeated once the line is free of it. */
proctype Timer(byte i)
{
end_of_life:
    do
    :: atomic { !end[i].up && !end[i].owes_hello && empty(line[i]) -> end[i].owes_hello = true }
    od
}

/* The process dies, its application with it, and a new one starts. */
proctype Fate(byte i)
{
    do
    :: atomic { end[i].restarts < RESTARTS -> end[i].restarts++; over(i) }
    :: break
    od
}

inline leave_stale(i)
{
    if
    :: line[i]!HELLO(OLD_NONCE, 0, 0)
    :: line[i]!HELLO_ACK(OLD_NONCE, OLDER_NONCE, 0)
    :: line[i]!DATA(OLD_NONCE, OLDER_NONCE, 0)
    fi;
    stale--
}

/* The line loses frames, and brings some of an older life at any time. */
proctype Line(byte i)
{
    mtype type;
    byte n, p, s;

    do
    :: atomic { losses > 0 && nempty(line[i]) -> line[i]?type(n, p, s); losses-- }
    :: atomic { stale > 0 && nfull(line[i]) -> leave_stale(i) }
    :: break
    od
}

init {
    atomic {
        byte k = 0;
        greet(0);
        greet(1);
        do
        :: k < ENDS -> run Reader(k); run Writer(k); run Timer(k); run Fate(k); run Line(k); k++
        :: else -> break
        od
    }
}

ltl stands { <>[] (AGREED(0, 1) && AGREED(1, 0)) }
