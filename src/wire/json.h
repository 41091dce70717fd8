// SPDX-License-Identifier: BSD-3-Clause
/*
 * JSON as QMP has it (RFC 8259, and strings in single quotes): text to a tree of values.
 *
 * json_frame.h finds the values in a stream of bytes; json_out.h writes text.
 */
#ifndef OUTBOARD_WIRE_JSON_H
#define OUTBOARD_WIRE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,  /* integer */
    JSON_UINT, /* unsigned_integer: above INT64_MAX */
    JSON_REAL, /* real: with a fraction or exponent, or outside 64 bits */
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

/* UTF-8; U+0000 is C0 80, so that there is one NUL, behind it. */
struct json_text {
    const char *bytes;
    size_t len;
};

struct json {
    enum json_type type;
    union {
        bool boolean;
        int64_t integer;
        uint64_t unsigned_integer;
        double real;
        struct json_text text;
        struct json *first; /* element or member */
    };
    struct json_text name; /* of a member of an object */
    struct json *next;     /* element or member; NULL: the last */
};

/* A tree with its memory. */
struct json_document;

struct json_fault {
    size_t offset;    /* of the byte that is wrong */
    const char *text; /* static */
};

/* Reads one value with nothing but white space around it. 0, -EPROTO (the text breaks the rules,
 * nests deeper than LIMIT_JSON_DEPTH or has more than LIMIT_JSON_VALUES values) or -ENOMEM; then
 * the fault is filled. */
int json_parse(const char *bytes, size_t len, struct json_document **ret_document,
               struct json_fault *ret_fault);
/* NULL is fine. */
void json_free(struct json_document *document);

/* The value of a document; it lives as long as the document. */
const struct json *json_root(const struct json_document *document);

/* The member of an object; NULL: no member has this name. Of two with one name, the last. */
const struct json *json_member(const struct json *object, const char *name);

/* Whether it is a string with this text. */
bool json_is_text(const struct json *value, const char *text);

#endif
