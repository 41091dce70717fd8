// SPDX-License-Identifier: BSD-3-Clause
#include "program/program_cell.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/socket.h>

/* The network of the cell is its own, but a socket keeps the network in which it was made. */
static bool has_unix_sockets_only(void)
{
    DIR *folder = opendir("/proc/self/fd");
    bool only = folder;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        int family;
        socklen_t len = sizeof(family);
        if (isdigit((unsigned char)entry->d_name[0]) &&
            getsockopt(atoi(entry->d_name), SOL_SOCKET, SO_DOMAIN, &family, &len) == 0)
            only = only && family == AF_UNIX;
    }
    if (folder)
        closedir(folder);
    return only;
}

int program_cell_leave(struct confinement *cell, const struct ob_program *author,
                       struct ob_fault *fault)
{
    const bool may_be_isolated = cell->policy && !author->takes_sockets && has_unix_sockets_only();
    int err = confine_leave(cell, fault);
    if (err < 0 || !may_be_isolated || !cell_is_isolated(&cell->report))
        return err;
    return confine_allow(cell, policy_isolated, "isolated.policy", fault);
}

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
