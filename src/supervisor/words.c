// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/words.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

void words_done(struct words *words)
{
    for (unsigned i = 0; i < words->count; i++)
        free(words->word[i]);
    free(words->word);
    *words = (struct words){0};
}

/* Takes the word over, also when it fails. NULL: there was no memory for it. */
static int append(struct words *words, char *word)
{
    char **larger = realloc(words->word, (words->count + 2) * sizeof(*larger));
    if (larger)
        words->word = larger;
    if (!larger || !word) {
        free(word);
        if (larger)
            larger[words->count] = NULL;
        return -ENOMEM;
    }
    larger[words->count++] = word;
    larger[words->count] = NULL;
    return 0;
}

int words_add(struct words *words, const char *format, ...)
{
    char *word;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&word, format, args);
    va_end(args);
    return append(words, len < 0 ? NULL : word);
}

int words_add_all(struct words *words, const char *const *list)
{
    int err = 0;
    for (; *list && err == 0; list++)
        err = append(words, strdup(*list));
    return err;
}

/* Copies one word without its quotes to `word`. Returns the rest of the text, NULL if a
 * quote is missing. */
static const char *take_word(const char *text, char *word)
{
    bool quoted = false;
    for (; *text && (quoted || !isspace((unsigned char)*text)); text++) {
        if (*text == '\'')
            quoted = !quoted;
        else
            *word++ = *text;
    }
    *word = '\0';
    return quoted ? NULL : text;
}

int words_split(struct words *words, const char *text)
{
    AUTO_FREE char *word = malloc(strlen(text) + 1);
    if (!word)
        return -ENOMEM;
    while (*(text += strspn(text, " \t")) != '\0') {
        text = take_word(text, word);
        int err = text ? words_add(words, "%s", word) : -EINVAL;
        if (err < 0)
            return err;
    }
    return 0;
}

static void print_word(const char *word, FILE *file)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./=,:@%+";
    if (*word && word[strspn(word, plain)] == '\0') {
        fputs(word, file);
        return;
    }
    fputc('\'', file);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", file);
        else
            fputc(*word, file);
    fputc('\'', file);
}

void words_print(const struct words *words, FILE *file)
{
    for (unsigned i = 0; i < words->count; i++) {
        if (i > 0)
            fputc(' ', file);
        print_word(words->word[i], file);
    }
    fputc('\n', file);
}
