/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Suppression of notifications in a virtqueue (src/virtio/ring.h): one side shows items, the other
 * takes them and sleeps when there are none. A kick is this with the driver as the producer, an
 * interrupt with the device.
 *
 * Each side has a store buffer, as processors have: what it writes reaches memory some time later,
 * unless a full barrier waits for that. The producer shows one or two items, has a barrier, reads
 * the consumer's wish and notifies if it applies. The consumer, before it sleeps, writes its wish,
 * has a barrier and looks once more.
 *
 * The wish is an index (event index), or with -DFLAGS a flag that the consumer lowers while it
 * works. -DNO_SHOW_BARRIER and -DNO_WISH_BARRIER leave a barrier out, -DNO_SECOND_LOOK the look:
 * then a notification is lost, and the consumer sleeps for ever with items waiting, which Spin
 * reports as an invalid end state.
 */
#define ITEMS 4

byte shown;      /* in memory: items that the producer has shown */
byte wish;       /* in memory: the item whose coming is to be notified, or whether any is */
bool notified;   /* a notification is on its way, or lies there */

/* The store buffers. */
byte late_shown, late_wish;
bool has_shown, has_wish;

inline publish(number)
{
    atomic { late_shown = number; has_shown = true }
}

inline want(number)
{
    atomic { late_wish = number; has_wish = true }
}

#ifdef NO_SHOW_BARRIER
#define SHOW_BARRIER true
#else
#define SHOW_BARRIER !has_shown
#endif
#ifdef NO_WISH_BARRIER
#define WISH_BARRIER true
#else
#define WISH_BARRIER !has_wish
#endif

#ifdef FLAGS
#define APPLIES (wish == 1)
#else
/* The wish lies among the items since the producer asked last. */
#define APPLIES (asked <= wish && wish < mine)
#endif

active proctype memory_takes_shown()
{
end:
    do
    :: atomic { has_shown -> shown = late_shown; has_shown = false }
    od
}

active proctype memory_takes_wish()
{
end:
    do
    :: atomic { has_wish -> wish = late_wish; has_wish = false }
    od
}

active proctype producer()
{
    byte mine = 0, asked = 0;
    do
    :: mine < ITEMS ->
        mine++;
        publish(mine);
        if
        :: mine < ITEMS -> mine++; publish(mine)
        :: skip
        fi;
        SHOW_BARRIER;
        if
        :: APPLIES -> notified = true
        :: else -> skip
        fi;
        asked = mine
    :: mine == ITEMS -> break
    od
}

active proctype consumer()
{
    byte taken = 0;
#ifdef FLAGS
    want(1);
#endif
    do
    :: taken == ITEMS -> break
    :: taken < shown ->
#ifdef FLAGS
        want(0);
#endif
        taken = shown
    :: taken < ITEMS && taken == shown ->
#ifdef FLAGS
        want(1);
#else
        want(taken);
#endif
        WISH_BARRIER;
        if
#ifndef NO_SECOND_LOOK
        :: taken < shown -> skip
        :: taken == shown -> notified; notified = false
#else
        :: true -> notified; notified = false
#endif
        fi
    od
}
