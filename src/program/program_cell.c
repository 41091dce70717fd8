// SPDX-License-Identifier: BSD-3-Clause
#include "program/program_cell.h"

int program_cell_prepare(struct confinement *cell, const struct ob_program *author, void *config,
                         const struct options *options, int notify_fd, struct ob_fault *fault)
{
    int err = confine_prepare(cell, author->name, &options->cell, fault);
    if (err < 0 || !cell->policy)
        return err;
    cell->plan.reaches_out = author->reaches_out && author->reaches_out(config);
    policy_define(cell->policy, "notify", (uint32_t)notify_fd);
    err = confine_allow(cell, policy_default, "default.policy", fault);
    if (err == 0 && cell->plan.reaches_out)
        err = confine_allow(cell, policy_reach, "reach.policy", fault);
    return err == 0 ? confine_allow(cell, author->policy, "ob_program.policy", fault) : err;
}
