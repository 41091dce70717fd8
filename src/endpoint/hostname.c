// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/hostname.h"

#include <errno.h>
#include <string.h>

#define LABEL_MAX 63

static bool is_label_byte(char byte, bool is_pattern)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
           byte == '_' || (is_pattern && byte == '*');
}

static bool is_label(const char *label, size_t len, bool is_pattern)
{
    if (len == 0 || len > LABEL_MAX || label[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_label_byte(label[i], is_pattern))
            return false;
    return true;
}

/* 10, 0x7f, 017: a name with such an end may be an address to some resolver. */
static bool is_number(const char *label, size_t len)
{
    if (len >= 2 && label[0] == '0' && label[1] == 'x')
        return strspn(label + 2, "0123456789abcdef") == len - 2;
    return strspn(label, "0123456789") == len;
}

static bool is_hostname(const char *name, bool is_pattern)
{
    for (;;) {
        size_t len = strcspn(name, ".");
        if (!is_label(name, len, is_pattern))
            return false;
        if (!name[len])
            return !is_number(name, len);
        name += len + 1;
    }
}

static int bring_into_form(const char *text, bool is_pattern, char ret_name[ADDRESS_NAME_MAX + 1])
{
    char name[ADDRESS_NAME_MAX + 1];
    size_t len = strlen(text);
    if (len > 1 && text[len - 1] == '.')
        len--;
    if (len > ADDRESS_NAME_MAX)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        name[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    name[len] = '\0';
    if (!is_hostname(name, is_pattern))
        return -EINVAL;
    memcpy(ret_name, name, len + 1);
    return 0;
}

int hostname_canonical(const char *text, char ret_name[ADDRESS_NAME_MAX + 1])
{
    return bring_into_form(text, false, ret_name);
}

int hostname_canonical_pattern(const char *text, char ret_name[ADDRESS_NAME_MAX + 1])
{
    return bring_into_form(text, true, ret_name);
}
