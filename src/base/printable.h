// SPDX-License-Identifier: BSD-3-Clause
/* Text for a person's terminal, log or status line. Inline, since libbackdoor has it too and static
 * libraries share no name. */
#ifndef OUTBOARD_BASE_PRINTABLE_H
#define OUTBOARD_BASE_PRINTABLE_H

#include <stddef.h>
#include <string.h>

/* The longest form that one byte takes: "\033". */
#define PRINTABLE_BYTE_MAX 4

#define PRINTABLE_CUT     "..."
#define PRINTABLE_CUT_LEN (sizeof(PRINTABLE_CUT) - 1)

/* Writes the printable form of one byte and returns its length. */
static inline size_t printable_byte(char *to, unsigned char byte)
{
    if (byte >= ' ' && byte <= '~') {
        *to = (char)byte;
        return 1;
    }
    to[0] = '\\';
    to[1] = (char)('0' + (byte >> 6));
    to[2] = (char)('0' + (byte >> 3 & 7));
    to[3] = (char)('0' + (byte & 7));
    return 4;
}

/* Copies len bytes as printable ASCII: any other byte becomes \NNN, octal as
 * ls -b has it. A printable text stays as it is, so that a text may pass here twice. A text that
 * does not fit into size is cut and ends with "...". size is at least 4. Returns the length of the
 * text, without its NUL. */
static inline size_t printable_copy(char *ret_text, size_t size, const char *bytes, size_t len)
{
    char form[PRINTABLE_BYTE_MAX];
    size_t used = 0;
    size_t whole = 0; /* the longest beginning behind which the mark fits */
    for (size_t i = 0; i < len; i++) {
        size_t form_len = printable_byte(form, (unsigned char)bytes[i]);
        if (used + form_len >= size) {
            memcpy(ret_text + whole, PRINTABLE_CUT, PRINTABLE_CUT_LEN + 1);
            return whole + PRINTABLE_CUT_LEN;
        }
        memcpy(ret_text + used, form, form_len);
        used += form_len;
        if (used + PRINTABLE_CUT_LEN < size)
            whole = used;
    }
    ret_text[used] = '\0';
    return used;
}

#endif
