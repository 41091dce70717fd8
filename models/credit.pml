/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session protocol's flow control: two ends that both write without end, over a channel that
 * holds few frames. Mary's stream is read at both ends. Joe's readers may stop for good, at any
 * time, and either end may reset his stream. docs/session-protocol.md is the text.
 *
 * A stream has credit for WINDOW frames each way. What a reader consumes is told as a count from the
 * start (modulo COUNT here), so a CREDIT may be sent late or once for several frames.
 *
 * Claims:
 * - No end holds more than WINDOW frames of a stream unread (the assertion): memory is bounded.
 * - Mary's stream moves for ever in both directions, whatever Joe does (ltl mary).
 * - When one end resets Joe's stream, both ends come to know (ltl reset).
 *
 * -DNO_RESET leaves resets out, which makes the check of mary short.
 *
 * -DGATED_READS reads the channel only while there is room to write; -DNO_CREDIT sends without
 * credit and stops reading the channel when a stream's buffer is full. Both are what other
 * multiplexers do, and with both the checks must fail.
 */
#define ENDS    2
#define STREAMS 2
#define JOE     0
#define MARY    1
#define WINDOW  1
#define COUNT   2 /* more than the window */
#define IN_FLIGHT 1

mtype = { DATA, CREDIT, RESET };

/* type, stream, count of consumed frames */
chan channel[ENDS] = [IN_FLIGHT] of { mtype, bit, byte };

typedef Stream {
    byte sent;        /* frames, modulo COUNT */
    byte acknowledged; /* of these, consumed by the peer as far as it has said */
    byte unread;      /* frames that lie here */
    byte consumed;
    bool owes_credit;
};
typedef End {
    Stream stream[STREAMS];
    bool owes_reset;
    bool over;      /* Joe's stream has been reset, and this end knows */
    bool turn;      /* whose DATA goes next */
    bool credit_turn; /* whose CREDIT goes next */
    bool data_next; /* what was owed has just gone; DATA that can go is next */
    bool delivered; /* flips with each of Mary's frames that is consumed here */
};
End end[ENDS];
bool was_reset;

#define IN_WINDOW(s) ((s.sent + COUNT - s.acknowledged) % COUNT < WINDOW)
#ifdef NO_CREDIT
#define MAY_SEND(i, k) true
#else
#define MAY_SEND(i, k) IN_WINDOW(end[i].stream[k])
#endif
#define IS_OVER(i, k) (k == JOE && end[i].over)

inline take(i, type, k, count)
{
    if
    :: type == DATA && !IS_OVER(i, k) ->
#ifndef NO_CREDIT
        assert(end[i].stream[k].unread < WINDOW);
#endif
        end[i].stream[k].unread++
    :: type == CREDIT -> end[i].stream[k].acknowledged = count
    :: type == RESET -> end[i].over = true; end[i].stream[JOE].unread = 0
    :: else
    fi
}

/* Reads the channel. */
proctype Reader(byte i)
{
    mtype type;
    byte k, count;

end_reading:
    do
    :: atomic {
#if defined(GATED_READS)
        nfull(channel[i]) && nempty(channel[1 - i]) ->
#elif defined(NO_CREDIT)
        nempty(channel[1 - i]) && end[i].stream[JOE].unread < WINDOW &&
            end[i].stream[MARY].unread < WINDOW ->
#else
        nempty(channel[1 - i]) ->
#endif
        channel[1 - i]?type(k, count);
        take(i, type, k, count) }
    od
}

inline send_data(i, k)
{
    channel[i]!DATA(k, 0);
    end[i].stream[k].sent = (end[i].stream[k].sent + 1) % COUNT;
    end[i].turn = !k;
    end[i].data_next = false
}

#define WANTS(i, k) (MAY_SEND(i, k) && !IS_OVER(i, k))
#define OWES(i)     (end[i].owes_reset || end[i].stream[JOE].owes_credit || end[i].stream[MARY].owes_credit)

inline send_credit(i, k)
{
    channel[i]!CREDIT(k, end[i].stream[k].consumed);
    end[i].stream[k].owes_credit = false;
    end[i].credit_turn = !k
}

inline send_owed(i)
{
    if
    :: end[i].owes_reset -> channel[i]!RESET(JOE, 0); end[i].owes_reset = false
    :: else ->
        if
        :: end[i].stream[JOE].owes_credit &&
                (end[i].credit_turn == JOE || !end[i].stream[MARY].owes_credit) ->
            send_credit(i, JOE)
        :: else -> send_credit(i, MARY)
        fi
    fi;
    end[i].data_next = true
}

#define DATA_WAITS(i) (WANTS(i, JOE) || WANTS(i, MARY))
#define OWED_GOES(i)  (OWES(i) && (!end[i].data_next || !DATA_WAITS(i)))

/* Writes the channel: what is owed, then DATA, each stream in its turn. */
proctype Writer(byte i)
{
end_writing:
    do
    :: atomic { nfull(channel[i]) && OWED_GOES(i) -> send_owed(i) }
    :: atomic { nfull(channel[i]) && !OWED_GOES(i) && WANTS(i, JOE) &&
            (end[i].turn == JOE || !WANTS(i, MARY)) -> send_data(i, JOE) }
    :: atomic { nfull(channel[i]) && !OWED_GOES(i) && WANTS(i, MARY) &&
            (end[i].turn == MARY || !WANTS(i, JOE)) -> send_data(i, MARY) }
    od
}

inline consume(i, k)
{
    end[i].stream[k].unread--;
    end[i].stream[k].consumed = (end[i].stream[k].consumed + 1) % COUNT;
    end[i].stream[k].owes_credit = true
}

proctype Mary(byte i)
{
end_mary:
    do
    :: atomic { end[i].stream[MARY].unread > 0 ->
        consume(i, MARY);
        end[i].delivered = !end[i].delivered }
    od
}

/* Reads for a while, then stops; may reset the stream at any time. */
proctype Joe(byte i)
{
    do
    :: atomic { end[i].stream[JOE].unread > 0 -> consume(i, JOE) }
    :: break
#ifndef NO_RESET
    :: atomic { !end[i].over ->
        end[i].over = true;
        end[i].owes_reset = true;
        end[i].stream[JOE].unread = 0;
        was_reset = true;
        break }
#endif
    od
}

init {
    atomic {
        byte k = 0;
        do
        :: k < ENDS -> run Reader(k); run Writer(k); run Mary(k); run Joe(k); k++
        :: else -> break
        od
    }
}

ltl mary {
    []<> end[0].delivered && []<> !end[0].delivered && []<> end[1].delivered && []<> !end[1].delivered
}
ltl reset { [] (was_reset -> <> (end[0].over && end[1].over)) }
