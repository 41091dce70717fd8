// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define MACHINE "machine"
#define DEVICE  "device"
#define CHANNEL "channel"

struct reader {
    struct config *config;
    struct config_section *section; /* that lines belong to; NULL: none yet */
    FILE *file;
    unsigned line;
    int err;
    struct ob_fault *fault;
};

#define complain(reader, ...) complain_of((reader)->line, reader, __VA_ARGS__)

static void __attribute__((format(printf, 3, 4)))
complain_of(unsigned line, struct reader *reader, const char *format, ...)
{
    char text[OB_FAULT_TEXT_LEN];
    va_list args;
    if (reader->err < 0)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reader->err =
        ob_fault_set(reader->fault, -EINVAL, "%.80s:%u: %s", reader->config->path, line, text);
}

/* Keeps the first cause. */
static void out_of_memory(struct reader *reader)
{
    if (reader->err == 0)
        reader->err = ob_fault_set(reader->fault, -ENOMEM, "no memory for the configuration");
}

static void *grow(struct reader *reader, void *array, unsigned count, size_t size)
{
    void *larger = realloc(array, (count + 1) * size);
    if (!larger)
        out_of_memory(reader);
    return larger;
}

bool config_is_id(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
            return false;
    return len > 0 && len <= LIMIT_DEVICE_ID && isalpha((unsigned char)text[0]);
}

static void add_device(struct reader *reader, const char *id, size_t len, bool is_channel)
{
    struct config *config = reader->config;
    for (unsigned i = 0; i < config->device_count; i++)
        if (strncmp(config->devices[i].id, id, len) == 0 && !config->devices[i].id[len]) {
            complain(reader, "[%s \"%s\"]: got the name of line %u again; give another one",
                     is_channel ? CHANNEL : DEVICE, config->devices[i].id, config->devices[i].line);
            return;
        }
    if (config->device_count == LIMIT_DEVICES) {
        complain(reader, "got more than %u devices; start a second outboard run", LIMIT_DEVICES);
        return;
    }
    struct config_section *devices =
        grow(reader, config->devices, config->device_count, sizeof(*devices));
    if (!devices)
        return;
    config->devices = devices;
    reader->section = &devices[config->device_count];
    *reader->section = (struct config_section){
        .id = strndup(id, len), .is_channel = is_channel, .line = reader->line};
    if (reader->section->id)
        config->device_count++;
    else
        out_of_memory(reader);
}

/* Where the name begins in KIND "NAME"]; NULL: it is something else. */
static const char *find_id(const char *text, const char *end, const char *kind)
{
    size_t len = strlen(kind);
    const char *id = text + len + 2;
    bool is_kind = end && strncmp(text, kind, len) == 0 && strncmp(text + len, " \"", 2) == 0;
    return is_kind && end > id && end[-1] == '"' && config_is_id(id, (size_t)(end - 1 - id)) ? id
                                                                                             : NULL;
}

/* [machine], [device "ID"] or [channel "ID"]; `text` begins behind the bracket. */
static void begin_section(struct reader *reader, const char *text)
{
    struct config_section *machine = &reader->config->machine;
    const char *end = strchr(text, ']');
    const char *device = find_id(text, end, DEVICE), *channel = find_id(text, end, CHANNEL);
    if (end && (size_t)(end - text) == strlen(MACHINE) &&
        strncmp(text, MACHINE, strlen(MACHINE)) == 0) {
        if (machine->line)
            complain(reader, "[machine]: got the section of line %u again; join the two",
                     machine->line);
        machine->line = reader->line;
        reader->section = machine;
    } else if (device || channel) {
        const char *id = device ? device : channel;
        add_device(reader, id, (size_t)(end - 1 - id), channel);
    } else {
        complain(reader,
                 "got '[%.*s', expected [machine], [device \"NAME\"] or [channel \"NAME\"], with a "
                 "NAME of at most %u letters, digits, '-', '_' and '.'",
                 (int)strcspn(text, "\n"), text, LIMIT_DEVICE_ID);
    }
}

/* Takes the quotes off a value. NULL: they do not match. */
static const char *unquote(char *value)
{
    size_t len = strlen(value);
    if (value[0] != '"')
        return value;
    if (len < 2 || value[len - 1] != '"')
        return NULL;
    value[len - 1] = '\0';
    return value + 1;
}

static void add_setting(struct reader *reader, const char *key, char *value)
{
    struct config_section *section = reader->section;
    const char *plain = unquote(value);
    if (!section)
        complain(reader,
                 "%.60s: got a setting outside of a section; put [machine] or [device "
                 "\"NAME\"] before it",
                 key);
    else if (!plain)
        complain(reader, "%.60s: got %.60s, expected a closing quote at the end of the line", key,
                 value);
    if (reader->err < 0)
        return;
    struct config_setting *settings =
        grow(reader, section->settings, section->count, sizeof(*settings));
    if (!settings)
        return;
    section->settings = settings;
    struct config_setting *setting = &settings[section->count];
    *setting = (struct config_setting){strdup(key), strdup(plain), reader->line};
    section->count++;
    if (!setting->key || !setting->value)
        out_of_memory(reader);
}

/* Called by inih for each setting; the section is known from its line. */
static int on_setting(void *context, const char *section, const char *key, const char *value)
{
    struct reader *reader = context;
    char *copy = strdup(value);
    if (copy)
        add_setting(reader, key, copy);
    else
        out_of_memory(reader);
    free(copy);
    return reader->err == 0;
}

/* Called by inih for the next line. Section headings are ours: inih takes any text for one, and
 * does not tell of one without settings. */
static char *next_line(char *line, int size, void *context)
{
    struct reader *reader = context;
    if (reader->err < 0 || !fgets(line, size, reader->file))
        return NULL;
    reader->line++;
    size_t len = strlen(line);
    if (len > 0 && line[len - 1] != '\n' && !feof(reader->file)) {
        complain(reader, "got a NUL byte or more than %u bytes, expected a line of text",
                 LIMIT_CONFIG_LINE);
        return NULL;
    }
    const char *text = line + strspn(line, " \t");
    if (*text == '[') {
        begin_section(reader, text + 1);
        *line = '\0';
    }
    return line;
}

static void parse(struct reader *reader)
{
    ini_allow_multiline = false;
    ini_allow_inline_comments = false;
    ini_use_stack = false;
    ini_max_line = LIMIT_CONFIG_LINE + 3; /* with the end of the line */
    ini_initial_alloc = LIMIT_CONFIG_LINE + 3;
    ini_stop_on_first_error = true;
    int line = ini_parse_stream(next_line, reader, on_setting, reader);
    if (line == -2)
        out_of_memory(reader);
    else if (line != 0)
        complain(reader, "expected KEY = \"VALUE\", [machine], [device \"NAME\"], [channel "
                         "\"NAME\"] or # comment");
}

int config_read(const char *path, struct config **ret_config, struct ob_fault *fault)
{
    struct config *config = calloc(1, sizeof(*config));
    struct reader reader = {.config = config, .fault = fault};
    if (!config || !(config->path = strdup(path)) || !(config->machine.id = strdup(""))) {
        out_of_memory(&reader);
    } else if (!(reader.file = fopen(path, "re"))) {
        reader.err = ob_fault_set(fault, -errno, "%.200s: %s", path, strerror(errno));
    } else {
        parse(&reader);
        if (ferror(reader.file) && reader.err == 0)
            reader.err = ob_fault_set(fault, -EIO, "%.200s: can't be read", path);
        fclose(reader.file);
    }
    if (reader.err < 0)
        config_free(config);
    else
        *ret_config = config;
    return reader.err;
}

void config_section_done(struct config_section *section)
{
    for (unsigned i = 0; i < section->count; i++) {
        free(section->settings[i].key);
        free(section->settings[i].value);
    }
    free(section->settings);
    free(section->id);
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (unsigned i = 0; i < config->device_count; i++)
        config_section_done(&config->devices[i]);
    config_section_done(&config->machine);
    free(config->devices);
    free(config->path);
    free(config);
}

int config_section_add(struct config_section *section, const char *key, const char *value)
{
    struct config_setting *settings =
        realloc(section->settings, (section->count + 1) * sizeof(*settings));
    if (!settings)
        return -ENOMEM;
    section->settings = settings;
    settings[section->count] = (struct config_setting){.key = strdup(key), .value = strdup(value)};
    section->count++;
    return settings[section->count - 1].key && settings[section->count - 1].value ? 0 : -ENOMEM;
}

const struct config_setting *config_find(const struct config_section *section, const char *key)
{
    for (unsigned i = section->count; i > 0; i--)
        if (strcmp(section->settings[i - 1].key, key) == 0)
            return &section->settings[i - 1];
    return NULL;
}

const char *config_value(const struct config_section *section, const char *key)
{
    const struct config_setting *setting = config_find(section, key);
    return setting ? setting->value : NULL;
}
