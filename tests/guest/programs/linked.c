// SPDX-License-Identifier: BSD-3-Clause
/* A backdoor program whose callbacks are linked in. */
#include <inttypes.h>
#include <stdio.h>

#include <outboard/backdoor_host.h>

static void call(uint64_t command, void *data)
{
    fprintf(stderr, "linked command 0x%" PRIx64 "\n", command);
}

int main(int argc, char **argv)
{
    const struct ob_backdoor_ops ops = {.call = call};
    return ob_backdoor_main(&ops, argc, argv);
}
