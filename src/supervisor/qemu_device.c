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

/* The properties of the file but vmm.driver. */
static void put_properties(FILE *file, const struct config_section *section)
{
    for (unsigned i = 0; i < section->count; i++) {
        const char *name = property(&section->settings[i]);
        if (!name || strcmp(name, "driver") == 0)
            continue;
        fprintf(file, ",%s=", name);
        put_value(file, section->settings[i].value);
    }
}

char *qemu_device_chardev(const struct plan_device *device)
{
    char *text = NULL;
    size_t size;
    FILE *file = device->is_channel || device->vhost_user ? open_memstream(&text, &size) : NULL;
    if (!file)
        return NULL;
    fprintf(file, "socket,id=outboard-%s", device->id);
    if (device->path) {
        fputs(",path=", file);
        put_value(file, device->path);
    } else {
        fprintf(file, ",fd=%d", device->fd);
    }
    return fclose(file) == 0 ? text : NULL;
}

char *qemu_device_channel(const struct plan_device *device, const struct config_section *section)
{
    char *text = NULL;
    size_t size;
    const char *port = config_value(section, "port");
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return NULL;
    fprintf(file, "virtserialport,id=%s,chardev=outboard-%s,name=", device->id, device->id);
    put_value(file, port ? port : "org.outboard.proxy.0");
    put_properties(file, section);
    return fclose(file) == 0 ? text : NULL;
}

static const char *find_driver(const struct config_section *section)
{
    static const char *const drivers[][2] = {{"blk", "vhost-user-blk-pci"},
                                             {"rng", "vhost-user-rng-pci"},
                                             {"vsock", "vhost-user-vsock-pci"}};
    const char *named = config_value(section, QEMU_DEVICE_PREFIX "driver");
    const char *program = config_value(section, "program");
    const char *slash = program ? strrchr(program, '/') : NULL;
    const char *name = slash ? slash + 1 : program ? program : "";
    name += strncmp(name, "outboard-", 9) == 0 ? 9 : 0;
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]) && !named; i++)
        if (strcmp(name, drivers[i][0]) == 0)
            named = drivers[i][1];
    return named;
}

char *qemu_device_vhost_user(const struct plan_device *device, const struct config_section *section)
{
    char *text = NULL;
    size_t size;
    const char *driver = find_driver(section);
    FILE *file = driver ? open_memstream(&text, &size) : NULL;
    if (!file)
        return NULL;
    fprintf(file, "%s,id=%s,chardev=outboard-%s", driver, device->id, device->id);
    put_properties(file, section);
    return fclose(file) == 0 ? text : NULL;
}

char *qemu_device_mpqemu(const struct plan_device *device, const struct config_section *section)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return NULL;
    fprintf(file, "x-pci-proxy-dev,id=%s,fd=%d", device->id, device->fd);
    put_properties(file, section);
    return fclose(file) == 0 ? text : NULL;
}
