// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_uri.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define USUAL_PORT "10809"

static int hex_digit(char letter)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit = letter ? strchr(digits, tolower((unsigned char)letter)) : NULL;
    return digit ? (int)(digit - digits) : -1;
}

/* A part of a URI, up to the first of the characters in `ends`, or to the end of the text. Returns
 * the rest behind it, or NULL if the part breaks the rules of URIs or does not fit. */
static const char *decode(const char *text, const char *ends, char *ret_part, size_t size)
{
    size_t len = 0;
    while (*text && !strchr(ends, *text)) {
        char letter = *text++;
        if (letter == '%') {
            int high = hex_digit(text[0]);
            int low = high < 0 ? -1 : hex_digit(text[1]);
            if (low < 0 || high + low == 0)
                return NULL;
            letter = (char)(high << 4 | low);
            text += 2;
        } else if (strchr("#&?", letter)) {
            return NULL;
        }
        if (len + 1 >= size)
            return NULL;
        ret_part[len++] = letter;
    }
    ret_part[len] = '\0';
    return text;
}

static bool parse_unix(const char *text, struct nbd_uri *uri)
{
    static const char query[] = "?socket=";
    uri->path.sun_family = AF_UNIX;
    text = decode(text, "?", uri->export, sizeof(uri->export));
    if (!text || strncmp(text, query, sizeof(query) - 1) != 0)
        return false;
    text = decode(text + sizeof(query) - 1, "", uri->path.sun_path, sizeof(uri->path.sun_path));
    return text && uri->path.sun_path[0];
}

/* An address of IPv6 stands in brackets. */
static bool parse_tcp(const char *text, struct nbd_uri *uri)
{
    bool is_bracketed = *text == '[';
    text = decode(text + is_bracketed, is_bracketed ? "]" : ":/", uri->host, sizeof(uri->host));
    if (text && is_bracketed && *text++ != ']')
        return false;
    if (!text || !uri->host[0] || strchr(uri->host, '@'))
        return false;
    snprintf(uri->port, sizeof(uri->port), "%s", USUAL_PORT);
    if (*text == ':')
        text = decode(text + 1, "/", uri->port, sizeof(uri->port));
    if (!text || !uri->port[0] || uri->port[strspn(uri->port, "0123456789")])
        return false;
    return !*text || (*text == '/' && decode(text + 1, "", uri->export, sizeof(uri->export)));
}

int nbd_uri_parse(const char *text, struct nbd_uri *ret_uri)
{
    static const char tcp[] = "nbd://", local[] = "nbd+unix:///";
    *ret_uri = (struct nbd_uri){0};
    bool is_read = strncmp(text, tcp, sizeof(tcp) - 1) == 0
                       ? parse_tcp(text + sizeof(tcp) - 1, ret_uri)
                       : strncmp(text, local, sizeof(local) - 1) == 0 &&
                             parse_unix(text + sizeof(local) - 1, ret_uri);
    return is_read ? 0 : -EINVAL;
}
