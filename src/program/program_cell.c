// SPDX-License-Identifier: BSD-3-Clause
#include "program/program_cell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/log.h"

static int add_file(struct policy *policy, const char *path, struct ob_fault *fault)
{
    AUTO_FREE char *text = calloc(1, LIMIT_POLICY_LEN + 1);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = !text ? -1 : fd < 0 ? -1 : read(fd, text, LIMIT_POLICY_LEN + 1);
    if (len < 0)
        // cppcheck-suppress memleak ; AUTO_FREE
        return ob_fault_set(fault, -errno, "--cell-policy: can't read %.100s: %s", path,
                            strerror(errno));
    if (len > LIMIT_POLICY_LEN || strlen(text) != (size_t)len)
        // cppcheck-suppress memleak ; AUTO_FREE
        return ob_fault_set(fault, -EINVAL,
                            "--cell-policy: %.100s: got a binary file or more than %u bytes, "
                            "expected lines of text",
                            path, LIMIT_POLICY_LEN);
    return policy_add(policy, text, path, fault);
}

int program_cell_prepare(struct program_cell *cell, const struct ob_program *author, void *config,
                         const struct options *options, struct ob_fault *fault)
{
    *cell = (struct program_cell){.author = author, .options = options};
    if (options->cell == OPTIONS_CELL_NONE)
        return 0;
    cell->plan.user = options->user;
    cell->plan.reaches_out = author->reaches_out && author->reaches_out(config);
    int err = policy_new(&cell->policy, fault);
    if (err == 0)
        err = policy_add(cell->policy, policy_default, "default.policy", fault);
    if (err == 0 && cell->plan.reaches_out)
        err = policy_add(cell->policy, policy_reach, "reach.policy", fault);
    if (err == 0 && author->policy)
        err = policy_add(cell->policy, author->policy, "ob_program.policy", fault);
    if (err == 0 && options->cell_policy)
        err = add_file(cell->policy, options->cell_policy, fault);
    return err;
}

/* Tells of the parts from first to last that the kernel has refused. */
static int judge(const struct program_cell *cell, enum cell_part first, enum cell_part last,
                 struct ob_fault *fault)
{
    for (enum cell_part part = first; part <= last; part++) {
        int err = cell->report.part[part];
        if (err >= 0)
            continue;
        const char *name = cell_part_name(part), *remedy = cell_part_remedy(part, err);
        if (cell->options->cell == OPTIONS_CELL_REQUIRED)
            return ob_fault_set(fault, err, "--cell=required: %s: got '%s'; %s", name,
                                strerror(-err), remedy);
        log_line("cell: goes on without '%s': got '%s'; %s", name, strerror(-err), remedy);
    }
    return 0;
}

int program_cell_leave(struct program_cell *cell, struct ob_fault *fault)
{
    if (!cell->policy)
        return 0;
    cell_leave(&cell->plan, &cell->report);
    if (cell->plan.reaches_out)
        log_line("cell: keeps paths and the network: the device connects to a server again later");
    return judge(cell, 0, CELL_CALLS - 1, fault);
}

int program_cell_close(struct program_cell *cell, struct ob_fault *fault)
{
    if (!cell->policy)
        return 0;
    cell_close(cell->policy, cell->author->name, &cell->report);
    return judge(cell, CELL_CALLS, CELL_CALLS, fault);
}

static void print_part(const struct program_cell *cell, enum cell_part part)
{
    int result = cell->report.part[part];
    printf("%-32s ", cell_part_name(part));
    if (result == 0)
        puts("yes");
    else if (result == CELL_LEFT_OUT)
        printf("left out: %s\n", cell_part_excuse(part));
    else
        printf("refused: %s; %s\n", strerror(-result), cell_part_remedy(part, result));
}

void program_cell_print(struct program_cell *cell)
{
    if (!cell->policy) {
        puts("no cell (--cell=none)");
        return;
    }
    cell_leave(&cell->plan, &cell->report);
    cell_close(cell->policy, cell->author->name, &cell->report);
    for (enum cell_part part = 0; part < CELL_PARTS; part++)
        print_part(cell, part);
}
