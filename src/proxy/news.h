// SPDX-License-Identifier: BSD-3-Clause
/*
 * News: requests of an end with an agent to its host: a hello and `ready` in each session, and
 * `shutting-down` before the program ends. A host that wants none has no such service, and nothing
 * else depends on it.
 */
#ifndef OUTBOARD_PROXY_NEWS_H
#define OUTBOARD_PROXY_NEWS_H

#include <stdbool.h>

struct news;
struct proxy;

/* 0 or -ENOMEM. */
int news_new(struct proxy *proxy, struct news **ret_news);
/* NULL is fine. */
void news_free(struct news *news);

/* A session stands. */
void news_on_up(struct news *news);

/* The program is to end. False: at once; true: proxy.stop is set when the host has answered, or
 * LIMIT_FAREWELL_MS are over. */
bool news_say_farewell(struct news *news);

#endif
