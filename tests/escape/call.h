// SPDX-License-Identifier: BSD-3-Clause
/* A system call as such: the C library might make another one of it. */
#ifndef OUTBOARD_TESTS_CALL_H
#define OUTBOARD_TESTS_CALL_H

#include <sys/syscall.h>
#include <unistd.h>

#define CALL(name, ...) escape_result(syscall(SYS_##name, ##__VA_ARGS__))

#endif
