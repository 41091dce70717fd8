// SPDX-License-Identifier: BSD-3-Clause
#include "program/author.h"

#include <errno.h>
#include <string.h>

#include "base/sized.h"
#include "program/wires.h"

static bool is_empty(const char *text)
{
    return !text || !*text;
}

static int check_option(const struct ob_option *option, struct ob_fault *fault)
{
    if (is_empty(option->name) || option->name[0] == '-' || strpbrk(option->name, "= "))
        return ob_fault_set(fault, -EINVAL,
                            "ob_program.options: '%s' can't be the name of an option; give it "
                            "without dashes",
                            option->name);
    if (!option->apply)
        return ob_fault_set(fault, -EINVAL, "ob_program.options: --%s has no apply()",
                            option->name);
    if (!option->help)
        return ob_fault_set(fault, -EINVAL, "ob_program.options: --%s has no help", option->name);
    return 0;
}

static int check_options(const struct ob_option *options, struct ob_fault *fault)
{
    for (unsigned i = 0; options && options[i].name; i++) {
        if (i == AUTHOR_MAX_OPTIONS)
            return ob_fault_set(
                fault, -EINVAL,
                "ob_program.options: got more than %u, or no last entry without a name",
                AUTHOR_MAX_OPTIONS);
        int err = check_option(&options[i], fault);
        if (err < 0)
            return err;
        for (unsigned j = 0; j < i; j++)
            if (strcmp(options[i].name, options[j].name) == 0)
                return ob_fault_set(fault, -EINVAL, "ob_program.options: got --%s twice",
                                    options[i].name);
    }
    return 0;
}

int author_read(const struct ob_program *given, struct ob_program *ret_own, struct ob_fault *fault)
{
    return sized_copy(given, SIZED_UP_TO(struct ob_program, destroy), ret_own, sizeof(*ret_own),
                      "ob_program", fault);
}

int author_check(const struct ob_program *program, struct ob_fault *fault)
{
    if (!program)
        return ob_fault_set(fault, -EINVAL, "ob_program_main(): the program is NULL");
    const char *missing = NULL;
    if (!program->create)
        missing = "create";
    if (is_empty(program->type))
        missing = "type";
    if (is_empty(program->summary))
        missing = "summary";
    if (is_empty(program->name))
        missing = "name";
    if (missing)
        return ob_fault_set(fault, -EINVAL, "ob_program_main(): ob_program.%s is not set", missing);
    const struct engine_ops *wire;
    int err = program->wire ? wires_find("ob_program.wire", program->wire, &wire, fault) : 0;
    return err < 0 ? err : check_options(program->options, fault);
}

/* The result of a callback that may return 0 or a negative errno: its fault, or words for it. */
static int check_result(int result, const char *of, const struct ob_fault *said,
                        struct ob_fault *fault)
{
    if (result == 0)
        return 0;
    if (result > 0)
        return ob_fault_set(fault, -EINVAL, "%s: got result %d, expected 0 or a negative errno", of,
                            result);
    if (said->code)
        return ob_fault_set(fault, result, "%s", said->text);
    return ob_fault_set(fault, result, "%s failed: %s", of, strerror(-result));
}

int author_apply(const struct ob_option *option, void *config, const char *value,
                 struct ob_fault *fault)
{
    struct ob_fault said = {0}, words = {0};
    int err = check_result(option->apply(config, value, &said), "apply()", &said, &words);
    return err < 0 ? ob_fault_set(fault, err, "--%s: %.200s", option->name, words.text) : 0;
}

int author_open(const struct ob_program *program, void *config, struct ob_fault *fault)
{
    struct ob_fault said = {0};
    if (!program->open)
        return 0;
    return check_result(program->open(config, &said), "open()", &said, fault);
}

int author_create(const struct ob_program *program, void *config, struct ob_device **ret_device,
                  struct ob_fault *fault)
{
    struct ob_fault said = {0};
    struct ob_device *device = NULL;
    int err = check_result(program->create(config, &device, &said), "create()", &said, fault);
    if (err == 0 && !device)
        err = ob_fault_set(fault, -EINVAL,
                           "create(): got result 0 without a device; set *ret_device");
    *ret_device = device;
    return err;
}
