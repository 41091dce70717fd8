// SPDX-License-Identifier: BSD-3-Clause
/* Words: a command line as execve(2) takes it, built up word by word. */
#ifndef OUTBOARD_SUPERVISOR_WORDS_H
#define OUTBOARD_SUPERVISOR_WORDS_H

#include <stdio.h>

struct words {
    char **word; /* a NULL behind the last; NULL itself while there is no word */
    unsigned count;
};

void words_done(struct words *words);

/* 0 or -ENOMEM. */
int words_add(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds each of the words, the last of which is NULL, as it is. 0 or -ENOMEM. */
int words_add_all(struct words *words, const char *const *list);

/* Adds the words of a text. White space separates words; between two single quotes everything is
 * part of a word. 0, -EINVAL if a quote is missing, -ENOMEM. */
int words_split(struct words *words, const char *text);

/* Writes them as a shell reads them, on one line. */
void words_print(const struct words *words, FILE *file);

#endif
