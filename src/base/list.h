// SPDX-License-Identifier: BSD-3-Clause
/*
 * Doubly linked list whose links lie in the members: joining and leaving never allocates or fails.
 * A link that is in no list points to itself, so list_remove() may be called twice.
 */
#ifndef OUTBOARD_BASE_LIST_H
#define OUTBOARD_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define list_entry(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->next = list->prev = list;
}

/* Whether a list has no members; or whether a link is in no list. */
static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_append(struct list *list, struct list *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

static inline void list_prepend(struct list *list, struct list *link)
{
    list_append(list->next, link);
}

static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* Takes the first member out of a list that has one. */
static inline struct list *list_take(struct list *list)
{
    struct list *first = list->next;
    list->next = first->next;
    list->next->prev = list;
    list_init(first);
    return first;
}

#endif
