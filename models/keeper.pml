/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors, keepers and interrupts of a device whose process dies, and death between any two steps.
 * docs/restart.md is the text; models/succession.pml has the bytes of its messages.
 *
 * A VMM sends MESSAGES messages, each with a descriptor that takes the place of the one before. The
 * device keeps it, and signals an interrupt for each message. Each life has a table of descriptors,
 * which its process and its keeper share. The table is closed when both have ended. A successor asks
 * the keeper for each descriptor, writes its numbers into its own column, and becomes the owner by one
 * store. A keeper ends when the supervisor sees that another life owns the vault.
 *
 * The supervisor gives a successor the keeper of the life that owns the vault, which is not always the
 * life before. A process dies at most DEATHS times, at any place, also while it takes over.
 *
 * Claims (assertions, and that every run ends):
 * - The owner has the descriptor of the last message that is committed: none is lost.
 * - After the last message the guest has seen an interrupt that came behind its commit.
 *
 * A rule may be left out, and then the check must fail: -DFORGET_KEEPER lets the table die with its
 * process, -DFORGET_COLUMN writes the numbers into the owner's own column, -DFORGET_OWNER gives the
 * keeper of the life before, whether it owns the vault or not, -DFORGET_CLOSE closes a descriptor before
 * the commit that makes it useless, -DFORGET_SIGNAL signals no interrupt again.
 */
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define LIVES (DEATHS + 1)
#define NONE  0
#define NUMBER(life, message) (10 * (life) + (message)) /* of a descriptor, in the table of a life */

/* Tables: of each life, whether it has the descriptor of message 1, 2, ... */
typedef Table {
    bool has[MESSAGES + 1];
    bool kept; /* its keeper lives */
};
Table table[LIVES];

/* The vault. */
byte owner;                /* the life that owns it */
byte column[2];            /* the number of the descriptor that is kept, in the table of a life; NONE: nothing */
bit which;                 /* the owner's column */
byte k_done;               /* messages that are committed */
byte k_fd;                 /* the one whose descriptor is kept */

byte life;
byte deaths;
bool alive = true;
byte sent, signalled;      /* the eventfd of the interrupt: k_done when it was signalled last */
byte newest;               /* received, but not committed */

inline drop_tables(number)
{
    atomic {
        d_at = 0;
        do
        :: d_at <= MESSAGES -> table[number].has[d_at] = false; d_at++
        :: else -> break
        od
    }
}

#define MAY_DIE \
    if \
    :: deaths < DEATHS -> atomic { deaths++; alive = false }; goto dead \
    :: skip \
    fi

active proctype device()
{
    byte from, d_at;
    table[0].kept = true;
serve:
    do
    :: newest == NONE && sent > k_done -> /* the receive: the kernel puts the descriptor into the table */
        atomic { newest = k_done + 1; table[life].has[newest] = true };
        MAY_DIE
    :: newest != NONE ->
#ifdef FORGET_CLOSE
        table[life].has[k_fd] = false;
        MAY_DIE;
#endif
        atomic { k_done = newest; k_fd = newest; column[which] = NUMBER(life, newest); newest = NONE };
        MAY_DIE;
        atomic {
            if
            :: k_fd > 1 -> table[life].has[k_fd - 1] = false
            :: else
            fi
        };
        MAY_DIE;
        signalled = k_done;
        MAY_DIE
    :: k_done == MESSAGES && newest == NONE && signalled == k_done -> goto over
    od;

dead: /* the supervisor */
#ifdef FORGET_KEEPER
    drop_tables(life);
    table[life].kept = false;
#endif
#ifdef FORGET_OWNER
    from = life;
#else
    from = owner;
#endif
    atomic { life++; alive = true };
    table[life].kept = true;
    assert(table[from].kept);
    /* The successor: the descriptor that is kept, then the one of the message that is not done. */
    assert(k_fd == NONE || (table[from].has[k_fd] && column[which] == NUMBER(from, k_fd)));
    table[life].has[k_fd] = true;
    MAY_DIE;
#ifdef FORGET_COLUMN
    column[which] = NUMBER(life, k_fd);
#else
    column[1 - which] = NUMBER(life, k_fd);
#endif
    MAY_DIE;
    if
    :: newest != NONE ->
        assert(table[from].has[newest]);
        table[life].has[newest] = true
    :: else
    fi;
    MAY_DIE;
    atomic {
        owner = life;
#ifndef FORGET_COLUMN
        which = 1 - which
#endif
    };
    MAY_DIE;
    /* Ready: the keeper of the process before ends. */
    table[from].kept = false;
    drop_tables(from);
    assert(k_fd == NONE || (table[owner].has[k_fd] && column[which] == NUMBER(owner, k_fd)));
#ifndef FORGET_SIGNAL
    signalled = k_done;
#endif
    MAY_DIE;
    goto serve;

over:
    assert(table[owner].has[k_fd] && column[which] == NUMBER(owner, k_fd))
}

/* It waits for the interrupt of a message before it sends the next, and polls nothing. */
active proctype vmm()
{
    do
    :: sent < MESSAGES -> sent++; signalled >= sent
    :: sent == MESSAGES -> break
    od
}
