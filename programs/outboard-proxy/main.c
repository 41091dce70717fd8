// SPDX-License-Identifier: BSD-3-Clause
/* outboard-proxy: `outboard proxy` alone, in one static file that can be put into any guest. */
#include <stddef.h>

#include "../outboard/command.h"
#include "os/inherited.h"
#include "os/standard_output.h"

int main(int argc, char **argv)
{
    inherited_close(argc, argv, NULL);
    return standard_output_end(cmd_proxy(argc, argv));
}
