// SPDX-License-Identifier: BSD-3-Clause
/*
 * A recursive descent over a text that is there as a whole. Values and strings lie in chunks that
 * the document owns; a string is never longer than its text in the source.
 */
#include "wire/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "wire/utf8.h"

#define CHUNK_LEN 4096

struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(max_align_t) char bytes[];
};

struct json_document {
    struct chunk *chunks; /* the first is being filled */
    struct json *root;
};

struct parser {
    struct json_document *document;
    const char *start, *at, *end;
    struct json_fault fault; /* text: NULL while all is well */
    unsigned depth;
    unsigned values;
};

static int parse_value(struct parser *parser, struct json **ret_value);

static int fail_at(struct parser *parser, const char *at, const char *text)
{
    parser->fault = (struct json_fault){.offset = (size_t)(at - parser->start), .text = text};
    return -EPROTO;
}

static int fail(struct parser *parser, const char *text)
{
    return fail_at(parser, parser->at, text);
}

static int fail_memory(struct parser *parser)
{
    fail(parser, "out of memory");
    return -ENOMEM;
}

static void *take(struct json_document *document, size_t len)
{
    struct chunk *chunk = document->chunks;
    len = (len + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
    if (!chunk || chunk->size - chunk->used < len) {
        size_t size = len > CHUNK_LEN ? len : CHUNK_LEN;
        chunk = malloc(sizeof(*chunk) + size);
        if (!chunk)
            return NULL;
        *chunk = (struct chunk){.next = document->chunks, .size = size};
        document->chunks = chunk;
    }
    void *taken = chunk->bytes + chunk->used;
    chunk->used += len;
    return taken;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static void skip_space(struct parser *parser)
{
    while (parser->at < parser->end && is_space(*parser->at))
        parser->at++;
}

/* Takes this byte, behind white space, if it comes next. */
static bool accept(struct parser *parser, char byte)
{
    skip_space(parser);
    if (parser->at == parser->end || *parser->at != byte)
        return false;
    parser->at++;
    return true;
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The four digits of \uXXXX. */
static int take_unit(struct parser *parser, uint32_t *ret_unit)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = parser->at < parser->end ? hex_digit(*parser->at) : -1;
        if (digit < 0)
            return fail(parser, "four hexadecimal digits must follow \\u");
        unit = unit << 4 | (uint32_t)digit;
        parser->at++;
    }
    *ret_unit = unit;
    return 0;
}

static int take_code_point(struct parser *parser, char **to)
{
    const char *at = parser->at;
    uint32_t unit, low;
    int err = take_unit(parser, &unit);
    if (err == 0 && unit >= 0xd800 && unit < 0xdc00) {
        if (parser->end - parser->at < 2 || memcmp(parser->at, "\\u", 2) != 0)
            return fail_at(parser, at, "a high surrogate needs a low one behind it");
        parser->at += 2;
        err = take_unit(parser, &low);
        if (err == 0 && (low < 0xdc00 || low > 0xdfff))
            return fail_at(parser, at, "a high surrogate needs a low one behind it");
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low & 0x3ff);
    } else if (err == 0 && unit >= 0xdc00 && unit <= 0xdfff) {
        return fail_at(parser, at, "a low surrogate needs a high one in front of it");
    }
    if (err == 0)
        *to += utf8_put(unit, *to);
    return err;
}

static int take_escape(struct parser *parser, char **to)
{
    static const char letters[] = "\"\\/'bfnrt";
    static const char meanings[] = "\"\\/'\b\f\n\r\t";
    char letter = parser->at < parser->end ? *parser->at : '\0';
    if (letter == 'u') {
        parser->at++;
        return take_code_point(parser, to);
    }
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (!found)
        return fail(parser, "no such escape sequence");
    *(*to)++ = meanings[found - letters];
    parser->at++;
    return 0;
}

static int take_character(struct parser *parser, char **to)
{
    size_t len = utf8_len(parser->at, (size_t)(parser->end - parser->at));
    if (len == 0)
        return fail(parser, "no valid UTF-8");
    if ((unsigned char)*parser->at < ' ')
        return fail(parser, "a control character must be escaped");
    memcpy(*to, parser->at, len);
    *to += len;
    parser->at += len;
    return 0;
}

static int parse_text(struct parser *parser, struct json_text *ret_text)
{
    char quote = *parser->at++;
    const char *closing = parser->at;
    while (closing < parser->end && *closing != quote)
        closing += *closing == '\\' ? 2 : 1;
    if (closing >= parser->end) {
        parser->at = parser->end;
        return fail(parser, "a string does not end");
    }
    char *text = take(parser->document, (size_t)(closing - parser->at) + 1);
    if (!text)
        return fail_memory(parser);
    char *to = text;
    int err = 0;
    while (err == 0 && *parser->at != quote) {
        bool escaped = *parser->at == '\\';
        parser->at += escaped;
        err = escaped ? take_escape(parser, &to) : take_character(parser, &to);
    }
    if (err < 0)
        return err;
    parser->at++;
    *to = '\0';
    *ret_text = (struct json_text){text, (size_t)(to - text)};
    return 0;
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* The end of a number, or NULL: the text is no number. */
static const char *measure_number(const char *at, const char *end, bool *ret_is_real)
{
    const char *digits = at < end && *at == '-' ? at + 1 : at;
    at = skip_digits(digits, end);
    if (at == digits || (*digits == '0' && at - digits > 1))
        return NULL;
    *ret_is_real = false;
    if (at < end && *at == '.') {
        *ret_is_real = true;
        digits = at + 1;
        at = skip_digits(digits, end);
        if (at == digits)
            return NULL;
    }
    if (at < end && (*at | 0x20) == 'e') {
        *ret_is_real = true;
        digits = at + 1;
        if (digits < end && (*digits == '+' || *digits == '-'))
            digits++;
        at = skip_digits(digits, end);
        if (at == digits)
            return NULL;
    }
    return at;
}

static int parse_number(struct parser *parser, struct json *value)
{
    char copy[64];
    bool is_real;
    const char *end = measure_number(parser->at, parser->end, &is_real);
    if (!end)
        return fail(parser, "no valid number");
    size_t len = (size_t)(end - parser->at);
    if (len >= sizeof(copy))
        return fail(parser, "a number is too long");
    memcpy(copy, parser->at, len);
    copy[len] = '\0';
    parser->at = end;
    errno = 0;
    value->type = JSON_INT;
    if (!is_real)
        value->integer = strtoll(copy, NULL, 10);
    if (!is_real && errno == 0)
        return 0;
    errno = 0;
    value->type = JSON_UINT;
    if (!is_real && copy[0] != '-')
        value->unsigned_integer = strtoull(copy, NULL, 10);
    if (!is_real && copy[0] != '-' && errno == 0)
        return 0;
    value->type = JSON_REAL;
    value->real = strtod(copy, NULL);
    return 0;
}

static int parse_word(struct parser *parser, struct json *value)
{
    static const struct {
        const char *word;
        enum json_type type;
        bool boolean;
    } words[] = {
        {"null", JSON_NULL, false}, {"true", JSON_BOOL, true}, {"false", JSON_BOOL, false}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i].word);
        if ((size_t)(parser->end - parser->at) < len || memcmp(parser->at, words[i].word, len) != 0)
            continue;
        parser->at += len;
        value->type = words[i].type;
        value->boolean = words[i].boolean;
        return 0;
    }
    return fail(parser, "a value was expected");
}

static int parse_name(struct parser *parser, struct json_text *ret_name)
{
    skip_space(parser);
    if (parser->at == parser->end || (*parser->at != '"' && *parser->at != '\''))
        return fail(parser, "a member's name was expected");
    int err = parse_text(parser, ret_name);
    if (err == 0 && !accept(parser, ':'))
        err = fail(parser, "':' was expected");
    return err;
}

/* The members of an array or an object, with the brackets. */
static int parse_members(struct parser *parser, struct json *value, char closing)
{
    struct json **last = &value->first;
    if (++parser->depth > LIMIT_JSON_DEPTH)
        return fail(parser, "too many nested values");
    parser->at++;
    if (!accept(parser, closing)) {
        do {
            struct json_text name = {0};
            int err = closing == '}' ? parse_name(parser, &name) : 0;
            if (err == 0)
                err = parse_value(parser, last);
            if (err < 0)
                return err;
            (*last)->name = name;
            last = &(*last)->next;
        } while (accept(parser, ','));
        if (!accept(parser, closing))
            return fail(parser,
                        closing == '}' ? "',' or '}' was expected" : "',' or ']' was expected");
    }
    parser->depth--;
    return 0;
}

static int parse_value(struct parser *parser, struct json **ret_value)
{
    if (++parser->values > LIMIT_JSON_VALUES)
        return fail(parser, "too many values");
    struct json *value = take(parser->document, sizeof(*value));
    if (!value)
        return fail_memory(parser);
    *value = (struct json){0};
    *ret_value = value;
    skip_space(parser);
    if (parser->at == parser->end)
        return fail(parser, "a value was expected");
    switch (*parser->at) {
    case '{':
        value->type = JSON_OBJECT;
        return parse_members(parser, value, '}');
    case '[':
        value->type = JSON_ARRAY;
        return parse_members(parser, value, ']');
    case '"':
    case '\'':
        value->type = JSON_STRING;
        return parse_text(parser, &value->text);
    case '-':
    case '0' ... '9':
        return parse_number(parser, value);
    default:
        return parse_word(parser, value);
    }
}

int json_parse(const char *bytes, size_t len, struct json_document **ret_document,
               struct json_fault *ret_fault)
{
    struct parser parser = {.start = bytes, .at = bytes, .end = bytes + len};
    parser.document = calloc(1, sizeof(*parser.document));
    int err = parser.document ? parse_value(&parser, &parser.document->root) : fail_memory(&parser);
    if (err == 0) {
        skip_space(&parser);
        if (parser.at != parser.end)
            err = fail(&parser, "nothing was expected behind the value");
    }
    if (err < 0) {
        *ret_fault = parser.fault;
        json_free(parser.document);
        return err;
    }
    *ret_document = parser.document;
    return 0;
}

void json_free(struct json_document *document)
{
    if (!document)
        return;
    for (struct chunk *chunk; (chunk = document->chunks);) {
        document->chunks = chunk->next;
        free(chunk);
    }
    free(document);
}

const struct json *json_root(const struct json_document *document)
{
    return document->root;
}

const struct json *json_member(const struct json *object, const char *name)
{
    const struct json *found = NULL;
    size_t len = strlen(name);
    if (!object || object->type != JSON_OBJECT)
        return NULL;
    for (const struct json *member = object->first; member; member = member->next) {
        if (member->name.len == len && memcmp(member->name.bytes, name, len) == 0)
            found = member;
    }
    return found;
}

bool json_is_text(const struct json *value, const char *text)
{
    return value && value->type == JSON_STRING && strcmp(value->text.bytes, text) == 0;
}
