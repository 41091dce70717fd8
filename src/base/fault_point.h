// SPDX-License-Identifier: BSD-3-Clause
/*
 * Fault points: places where a test build has the process die as by SIGKILL, so that tests reach
 * each step between a message and its answer. Release builds have none (meson option
 * fault_points).
 *
 * $OUTBOARD_FAULTS is a list of deaths, NAME:PASS:FIRST-LAST with a comma between two: each life
 * of the device from number FIRST to LAST dies when it comes to point NAME for the PASSth time.
 */
#ifndef OUTBOARD_BASE_FAULT_POINT_H
#define OUTBOARD_BASE_FAULT_POINT_H

#ifdef OUTBOARD_FAULT_POINTS

/* From now on this process is the device's life of this number. */
void fault_points_arm(unsigned long long life);
void fault_point(const char *name);

#else

static inline void fault_points_arm(unsigned long long life)
{
}

static inline void fault_point(const char *name)
{
}

#endif

#endif
