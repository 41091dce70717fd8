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

static bool has_column(char (*columns)[CELL_MAX], unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(columns[i], name) == 0)
            return true;
    return false;
}

/* The names of members, each once, in the order in which they come. */
static unsigned find_columns(const struct json *array, char (*columns)[CELL_MAX])
{
    unsigned count = 0;
    for (const struct json *row = array->first; row; row = row->next)
        for (const struct json *member = row->type == JSON_OBJECT ? row->first : NULL; member;
             member = member->next)
            if (is_scalar(member) && count < COLUMN_MAX &&
                !has_column(columns, count, member->name.bytes))
                snprintf(columns[count++], CELL_MAX, "%s", member->name.bytes);
    return count;
}

static const struct json *cell_of(const struct json *row, const char *column)
{
    return row->type == JSON_OBJECT ? json_member(row, column) : NULL;
}

static void print_table(const struct json *array)
{
    char columns[COLUMN_MAX][CELL_MAX], cell[CELL_MAX];
    size_t widths[COLUMN_MAX];
    unsigned count = find_columns(array, columns);
    for (unsigned i = 0; i < count; i++) {
        widths[i] = strlen(columns[i]);
        for (const struct json *row = array->first; row; row = row->next) {
            format(cell_of(row, columns[i]), cell);
            widths[i] = strlen(cell) > widths[i] ? strlen(cell) : widths[i];
        }
    }
    for (unsigned i = 0; i < count; i++)
        printf("%-*s%s", i + 1 < count ? (int)widths[i] : 0, columns[i],
               i + 1 < count ? "  " : "\n");
    for (const struct json *row = array->first; row; row = row->next)
        for (unsigned i = 0; i < count; i++) {
            format(cell_of(row, columns[i]), cell);
            printf("%-*s%s", i + 1 < count ? (int)widths[i] : 0, cell[0] ? cell : "-",
                   i + 1 < count ? "  " : "\n");
        }
}

void ctl_print(const struct json *value)
{
    char cell[CELL_MAX];
    bool is_table = value->type == JSON_ARRAY && value->first && !is_scalar(value->first);
    if (is_table) {
        print_table(value);
        return;
    }
    for (const struct json *one = is_scalar(value) ? NULL : value->first; one; one = one->next) {
        format(one, cell);
        if (value->type == JSON_OBJECT)
            printf("%s: ", one->name.bytes);
        puts(cell);
    }
}

void ctl_print_event(const struct json *event)
{
    char cell[CELL_MAX];
    const struct json *data = json_member(event, "data");
    format(json_member(event, "event"), cell);
    fputs(cell, stdout);
    for (const struct json *one = data && data->type == JSON_OBJECT ? data->first : NULL; one;
         one = one->next) {
        format(one, cell);
        printf(" %s=%s", one->name.bytes, cell);
    }
    putchar('\n');
    fflush(stdout);
}
