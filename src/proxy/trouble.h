// SPDX-License-Identifier: BSD-3-Clause
/* Trouble: the reason why no session stands, for status and for those who wait. */
#ifndef OUTBOARD_PROXY_TROUBLE_H
#define OUTBOARD_PROXY_TROUBLE_H

#define TROUBLE_MAX 400

struct trouble {
    char text[TROUBLE_MAX]; /* empty: nothing is known */
};

void trouble_set(struct trouble *trouble, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void trouble_clear(struct trouble *trouble);

#endif
