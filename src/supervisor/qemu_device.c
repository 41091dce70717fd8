// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/qemu_device.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *property(const struct config_setting *setting)
{
    size_t len = strlen(QEMU_DEVICE_PREFIX);
    return strncmp(setting->key, QEMU_DEVICE_PREFIX, len) == 0 ? setting->key + len : NULL;
}

/* A JSON string, RFC 8259 section 7. Bytes beyond ASCII are UTF-8 or QEMU refuses them. */
static void put_string(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20)
            fprintf(file, "\\u%04x", byte);
        else
            fprintf(file, byte == '"' || byte == '\\' ? "\\%c" : "%c", byte);
    }
    fputc('"', file);
}

static void put_member(FILE *file, const char *key, const char *value)
{
    fputc(',', file);
    put_string(file, key);
    fputc(':', file);
    put_string(file, value);
}

char *qemu_device_vfio_user(const struct plan_device *device, const struct config_section *section)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return NULL;
    fputs("{\"driver\":\"vfio-user-pci\"", file);
    put_member(file, "id", device->id);
    fputs(",\"socket\":{\"type\":\"unix\",\"path\":", file);
    put_string(file, device->path);
    fputc('}', file);
    for (unsigned i = 0; i < section->count; i++)
        if (property(&section->settings[i]))
            put_member(file, property(&section->settings[i]), section->settings[i].value);
    fputc('}', file);
    return fclose(file) == 0 ? text : NULL;
}

/* QMP wants on and off, and numbers, of their own types. */
static void put_typed_member(FILE *file, const char *key, const char *value)
{
    size_t digits = strspn(value, "0123456789");
    bool on = strcmp(value, "on") == 0;
    fputc(',', file);
    put_string(file, key);
    fputc(':', file);
    if (on || strcmp(value, "off") == 0)
        fputs(on ? "true" : "false", file);
    else if (digits > 0 && !value[digits] && (value[0] != '0' || digits == 1))
        fputs(value, file);
    else
        put_string(file, value);
}

char *qemu_device_plug_arguments(const struct plan_device *device,
                                 const struct config_section *section)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return NULL;
    fprintf(file, "{\"driver\":\"%s\"", device->path ? "vfio-user-pci" : "x-pci-proxy-dev");
    put_member(file, "id", device->id);
    if (device->path) {
        fputs(",\"socket\":{\"type\":\"unix\",\"path\":", file);
        put_string(file, device->path);
        fputc('}', file);
    } else {
        fprintf(file, ",\"fd\":\"outboard-%s\"", device->id);
    }
    for (unsigned i = 0; i < section->count; i++)
        if (property(&section->settings[i]))
            put_typed_member(file, property(&section->settings[i]), section->settings[i].value);
    fputc('}', file);
    return fclose(file) == 0 ? text : NULL;
}

/* QEMU's own form: a comma in a value is doubled. */
static void put_value(FILE *file, const char *value)
{
    for (; *value; value++)
        fputs(*value == ',' ? ",," : (char[]){*value, '\0'}, file);
}

char *qemu_device_mpqemu(const struct plan_device *device, const struct config_section *section)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return NULL;
    fprintf(file, "x-pci-proxy-dev,id=%s,fd=%d", device->id, device->fd);
    for (unsigned i = 0; i < section->count; i++) {
        const struct config_setting *setting = &section->settings[i];
        if (!property(setting))
            continue;
        fprintf(file, ",%s=", property(setting));
        put_value(file, setting->value);
    }
    return fclose(file) == 0 ? text : NULL;
}
