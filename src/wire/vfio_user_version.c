// SPDX-License-Identifier: BSD-3-Clause
/*
 * VERSION, the one message with text in it: JSON, {"capabilities": {NAME: VALUE, ...}}.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "wire/vfio_user.h"

/* The values if a peer says nothing; section VFIO_USER_VERSION. */
static const struct vfio_user_capabilities defaults = {
    .max_msg_fds = 1,
    .max_data_xfer_size = 1048576,
    .pgsizes = 4096,
    .max_dma_maps = 65535,
};

/* Reads a number that must be one, up to max; larger ones count as max. Absent: left as it is. */
static int get_number(const json_t *object, const char *name, uint64_t max, uint64_t *number)
{
    const json_t *value = json_object_get(object, name);
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return -EPROTO;
    uint64_t given = (uint64_t)json_integer_value(value);
    *number = given < max ? given : max;
    return 0;
}

static int get_u32(const json_t *object, const char *name, uint32_t *ret_number)
{
    uint64_t number = *ret_number;
    int err = get_number(object, name, UINT32_MAX, &number);
    *ret_number = (uint32_t)number;
    return err;
}

static int get_bool(const json_t *object, const char *name, bool *ret_value)
{
    const json_t *value = json_object_get(object, name);
    if (value && !json_is_boolean(value))
        return -EPROTO;
    if (value)
        *ret_value = json_is_true(value);
    return 0;
}

static int get_capabilities(const json_t *root, struct vfio_user_capabilities *capabilities)
{
    const json_t *object = json_object_get(root, "capabilities");
    if (!object)
        return 0;
    if (!json_is_object(object) || get_u32(object, "max_msg_fds", &capabilities->max_msg_fds) < 0 ||
        get_number(object, "max_data_xfer_size", UINT64_MAX, &capabilities->max_data_xfer_size) <
            0 ||
        get_number(object, "pgsizes", UINT64_MAX, &capabilities->pgsizes) < 0 ||
        get_u32(object, "max_dma_maps", &capabilities->max_dma_maps) < 0 ||
        get_bool(object, "write_multiple", &capabilities->write_multiple) < 0)
        return -EPROTO;
    return 0;
}

/* The text behind the numbers as JSON, or NULL when it is no JSON. */
static json_t *parse(const uint8_t *text, size_t len)
{
    if (len == 0 || text[len - 1] != '\0' || len > LIMIT_VFIO_USER_JSON)
        return NULL;
    json_t *root = json_loadb((const char *)text, len - 1, 0, NULL);
    if (json_is_object(root))
        return root;
    json_decref(root);
    return NULL;
}

void vfio_user_version_prepare(void)
{
    json_object_seed(0);
}

/* 0 major, 2 minor, 4 version data */
int vfio_user_version_get(const uint8_t *buf, size_t len, struct vfio_user_version *ret_version)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_version version = {.capabilities = defaults};
    version.major = rd_u16(&rd);
    version.minor = rd_u16(&rd);
    version.json_len = rd.left;
    const uint8_t *text = rd_take(&rd, rd.left);
    if (rd_done(&rd) < 0)
        return -EPROTO;
    if (version.json_len > 0) {
        json_t *root = parse(text, version.json_len);
        version.migration = json_object_get(json_object_get(root, "capabilities"), "migration");
        int err = root ? get_capabilities(root, &version.capabilities) : -EPROTO;
        json_decref(root);
        if (err < 0)
            return err;
    }
    *ret_version = version;
    return 0;
}

/* Text that grows in a fixed buffer; too much of it shows in len. */
struct text {
    char bytes[LIMIT_VFIO_USER_JSON];
    size_t len;
};

/* Appends a capability when it was offered. */
static void answer(struct text *text, const json_t *offered, const char *name, const char *value)
{
    if (!json_object_get(offered, name))
        return;
    const char *comma = text->bytes[text->len - 1] == '{' ? "" : ",";
    text->len += (size_t)snprintf(text->bytes + text->len, sizeof(text->bytes) - text->len,
                                  "%s\"%s\":%s", comma, name, value);
}

static void answer_number(struct text *text, const json_t *offered, const char *name,
                          uint64_t number)
{
    char value[32];
    snprintf(value, sizeof(value), "%llu", (unsigned long long)number);
    answer(text, offered, name, value);
}

static void append(struct text *text, const char *words)
{
    text->len +=
        (size_t)snprintf(text->bytes + text->len, sizeof(text->bytes) - text->len, "%s", words);
}

static void write_answer(struct text *text, const json_t *offered,
                         const struct vfio_user_capabilities *capabilities)
{
    append(text, "{\"capabilities\":{");
    answer_number(text, offered, "max_msg_fds", capabilities->max_msg_fds);
    answer_number(text, offered, "max_data_xfer_size", capabilities->max_data_xfer_size);
    answer_number(text, offered, "pgsizes", capabilities->pgsizes);
    answer_number(text, offered, "max_dma_maps", capabilities->max_dma_maps);
    answer(text, offered, "write_multiple", capabilities->write_multiple ? "true" : "false");
    append(text, "}}");
}

int vfio_user_version_reply_put(uint8_t *buf, size_t len, const uint8_t *offered,
                                size_t offered_len, const struct vfio_user_version *version)
{
    struct text text = {.len = 0};
    size_t room = offered_len - VFIO_USER_VERSION_LEN;
    json_t *root = parse(offered + VFIO_USER_VERSION_LEN, room);
    write_answer(&text, json_object_get(root, "capabilities"), &version->capabilities);
    if (root && text.len + 1 > room) { /* an offer like {} */
        text.len = 0;
        append(&text, "{}");
    }
    json_decref(root);
    struct wr wr = wr_init(buf, len);
    wr_u16(&wr, version->major);
    wr_u16(&wr, version->minor);
    wr_bytes(&wr, text.bytes, text.len + 1);
    return wr_done(&wr);
}

int vfio_user_version_offer_put(uint8_t *buf, size_t len, const struct vfio_user_version *version)
{
    const struct vfio_user_capabilities *capabilities = &version->capabilities;
    char text[LIMIT_VFIO_USER_JSON];
    int text_len = snprintf(
        text, sizeof(text),
        "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%llu,\"pgsizes\":%llu,"
        "\"max_dma_maps\":%u,\"write_multiple\":%s}}",
        capabilities->max_msg_fds, (unsigned long long)capabilities->max_data_xfer_size,
        (unsigned long long)capabilities->pgsizes, capabilities->max_dma_maps,
        capabilities->write_multiple ? "true" : "false");
    struct wr wr = wr_init(buf, len);
    wr_u16(&wr, version->major);
    wr_u16(&wr, version->minor);
    wr_bytes(&wr, text, (size_t)text_len + 1);
    return wr_done(&wr);
}
