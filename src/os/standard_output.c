// SPDX-License-Identifier: BSD-3-Clause
#include "os/standard_output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/log.h"

int standard_output_end(int status)
{
    int error = 0;
    if (ferror(stdout))
        error = EIO; /* an earlier write; its own reason is not kept */
    if (fflush(stdout) == EOF)
        error = errno;
    /* EBADF: a command has closed it by hand, and was told of errors then. */
    if (fclose(stdout) == EOF && errno != EBADF && error == 0)
        error = errno;
    if (error == 0)
        return status;
    if (error != EPIPE)
        log_line("can't write to standard output: %s", strerror(error));
    return EXIT_FAILURE;
}
