// SPDX-License-Identifier: BSD-3-Clause
#include "ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/printable.h"

#define CELL_MAX   128
#define COLUMN_MAX 24

/* The text of a value; that of arrays and objects is empty. */
static void format(const struct json *value, char cell[CELL_MAX])
{
    cell[0] = '\0';
    if (!value)
        return;
    switch (value->type) {
    case JSON_BOOL:
        snprintf(cell, CELL_MAX, "%s", value->boolean ? "yes" : "no");
        break;
    case JSON_INT:
        snprintf(cell, CELL_MAX, "%" PRId64, value->integer);
        break;
    case JSON_UINT:
        snprintf(cell, CELL_MAX, "%" PRIu64, value->unsigned_integer);
        break;
    case JSON_STRING:
        printable_copy(cell, CELL_MAX, value->text.bytes, value->text.len);
        break;
    default:
        break;
    }
}

static bool is_scalar(const struct json *value)
{
    return value->type != JSON_ARRAY && value->type != JSON_OBJECT;
}

static void format_name(const char *name, char cell[CELL_MAX])
{
    printable_copy(cell, CELL_MAX, name, strlen(name));
}

static bool has_column(const char *const *columns, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(columns[i], name) == 0)
            return true;
    return false;
}

/* The names of members, each once, in the order in which they come. */
static unsigned find_columns(const struct json *array, const char **columns)
{
    unsigned count = 0;
    for (const struct json *row = array->first; row; row = row->next)
        for (const struct json *member = row->type == JSON_OBJECT ? row->first : NULL; member;
             member = member->next)
            if (is_scalar(member) && count < COLUMN_MAX &&
                !has_column(columns, count, member->name.bytes))
                columns[count++] = member->name.bytes;
    return count;
}

static const struct json *cell_of(const struct json *row, const char *column)
{
    return row->type == JSON_OBJECT ? json_member(row, column) : NULL;
}

static void print_table(const struct json *array)
{
    const char *columns[COLUMN_MAX];
    char cell[CELL_MAX];
    size_t widths[COLUMN_MAX];
    unsigned count = find_columns(array, columns);
    for (unsigned i = 0; i < count; i++) {
        format_name(columns[i], cell);
        widths[i] = strlen(cell);
        for (const struct json *row = array->first; row; row = row->next) {
            format(cell_of(row, columns[i]), cell);
            widths[i] = strlen(cell) > widths[i] ? strlen(cell) : widths[i];
        }
    }
    for (unsigned i = 0; i < count; i++) {
        format_name(columns[i], cell);
        printf("%-*s%s", i + 1 < count ? (int)widths[i] : 0, cell, i + 1 < count ? "  " : "\n");
    }
    for (const struct json *row = array->first; row; row = row->next)
        for (unsigned i = 0; i < count; i++) {
            format(cell_of(row, columns[i]), cell);
            printf("%-*s%s", i + 1 < count ? (int)widths[i] : 0, cell[0] ? cell : "-",
                   i + 1 < count ? "  " : "\n");
        }
}

void ctl_print(const struct json *value)
{
    char cell[CELL_MAX], name[CELL_MAX];
    bool is_table = value->type == JSON_ARRAY && value->first && !is_scalar(value->first);
    if (is_table) {
        print_table(value);
        return;
    }
    for (const struct json *one = is_scalar(value) ? NULL : value->first; one; one = one->next) {
        format(one, cell);
        format_name(value->type == JSON_OBJECT ? one->name.bytes : "", name);
        printf("%s%s%s\n", name, value->type == JSON_OBJECT ? ": " : "", cell);
    }
}

void ctl_print_event(const struct json *event)
{
    char cell[CELL_MAX], name[CELL_MAX];
    const struct json *data = json_member(event, "data");
    format(json_member(event, "event"), cell);
    fputs(cell, stdout);
    for (const struct json *one = data && data->type == JSON_OBJECT ? data->first : NULL; one;
         one = one->next) {
        format(one, cell);
        format_name(one->name.bytes, name);
        printf(" %s=%s", name, cell);
    }
    putchar('\n');
    fflush(stdout);
}
