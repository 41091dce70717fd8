// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/policy_line.h"

#include <errno.h>
#include <string.h>

#include "base/number.h"
#include "sandbox/refusal.h"

struct name_list {
    const struct policy_name *names;
    unsigned count;
};

static int parse_value(const char *text, const struct name_list *list, uint64_t *ret_value)
{
    for (unsigned i = 0; i < list->count; i++) {
        if (!list->names[i].text || strcmp(list->names[i].text, text) != 0)
            continue;
        *ret_value = list->names[i].value;
        return 0;
    }
    return number_parse(text, 0, UINT64_MAX, ret_value);
}

static int parse_errno(uint64_t value, struct policy_line *line)
{
    line->action = SCMP_ACT_ERRNO((uint32_t)value);
    return value > 0 && value < 4096 ? 0 : -EINVAL;
}

/* "a2", "a2&4" or "a2!", and the value behind its '='. */
static int parse_condition(char *word, uint64_t value, struct policy_line *line)
{
    uint64_t argument = 0, mask = UINT64_MAX;
    size_t len = strlen(word);
    bool is_unequal = len > 0 && word[len - 1] == '!';
    if (is_unequal)
        word[len - 1] = '\0';
    char *mask_text = strchr(word, '&');
    if (mask_text)
        *mask_text++ = '\0';
    if (word[0] != 'a' || number_parse(word + 1, 10, POLICY_CONDITIONS - 1, &argument) < 0 ||
        (mask_text && number_parse(mask_text, 0, UINT64_MAX, &mask) < 0))
        return -EINVAL;
    if (!is_unequal) {
        if (line->count == POLICY_CONDITIONS)
            return -EINVAL;
        line->conditions[line->count++] =
            SCMP_CMP((unsigned)argument, SCMP_CMP_MASKED_EQ, mask, value);
        return 0;
    }
    if (line->has_unequal || mask_text || value > UINT32_MAX)
        return -EINVAL;
    line->has_unequal = true;
    line->unequal_argument = (unsigned)argument;
    line->unequal_value = (uint32_t)value;
    return 0;
}

static int parse_word(char *word, const struct name_list *list, struct policy_line *line)
{
    char *value_text = strchr(word, '=');
    uint64_t value = 0;
    if (strcmp(word, "create") == 0) {
        line->is_temporary = true;
        return 0;
    }
    if (!value_text)
        return -EINVAL;
    *value_text++ = '\0';
    if (parse_value(value_text, list, &value) < 0)
        return -EINVAL;
    return strcmp(word, "errno") == 0 ? parse_errno(value, line)
                                      : parse_condition(word, value, line);
}

int policy_line_parse(char *text, const struct policy_name *names, unsigned name_count,
                      struct policy_line *ret_line)
{
    const struct name_list list = {names, name_count};
    char *rest = NULL;
    text[strcspn(text, "#")] = '\0';
    const char *name = strtok_r(text, " \t\r", &rest);
    if (!name)
        return 1;
    struct policy_line line = {.action = SCMP_ACT_ALLOW,
                               .call = seccomp_syscall_resolve_name(name)};
    if (line.call == __NR_SCMP_ERROR || line.call == REFUSAL_END)
        return -EINVAL;
    for (char *word; (word = strtok_r(NULL, " \t\r", &rest));)
        if (parse_word(word, &list, &line) < 0)
            return -EINVAL;
    if (line.is_temporary && line.action != SCMP_ACT_ALLOW)
        return -EINVAL;
    *ret_line = line;
    return 0;
}

static bool is_same_condition(const struct scmp_arg_cmp *one, const struct scmp_arg_cmp *other)
{
    return one->arg == other->arg && one->datum_a == other->datum_a &&
           one->datum_b == other->datum_b;
}

bool policy_line_covers(const struct policy_line *line, const struct policy_line *other)
{
    if (line->call != other->call || line->action != other->action)
        return false;
    if (line->count == 0 && !line->has_unequal)
        return true;
    if (line->count != other->count || line->has_unequal || other->has_unequal)
        return false;
    for (unsigned i = 0; i < line->count; i++)
        if (!is_same_condition(&line->conditions[i], &other->conditions[i]))
            return false;
    return true;
}
