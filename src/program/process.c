// SPDX-License-Identifier: BSD-3-Clause
#include "program/process.h"

#include "os/closer.h"
#include "os/event.h"
#include "os/shared_memory.h"
#include "program/wires.h"

int process_prepare(void)
{
    wires_prepare();
    return shared_memory_guard();
}

int process_start_threads(void)
{
    event_prepare();
    return closer_start();
}

int process_start_program_threads(void)
{
    event_prepare_program();
    return closer_start();
}
