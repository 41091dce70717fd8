// SPDX-License-Identifier: BSD-3-Clause
#include "fio.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "process.h"

/* What one direction of the one job did. */
static double operations_of(const json_t *report, const char *direction)
{
    const json_t *job = json_array_get(json_object_get(report, "jobs"), 0);
    const json_t *side = json_object_get(job, direction);
    double count = json_number_value(json_object_get(side, "total_ios"));
    double ms = json_number_value(json_object_get(side, "runtime"));
    if (json_integer_value(json_object_get(job, "error")) != 0 || count <= 0 || ms <= 0)
        bench_die("fio did nothing");
    return count * 1000 / ms;
}

/* As a thread: a process of its own would begin a session of its own, to which the kernel gives
 * its own share of the processors. */
double fio_run(const struct fio_job *job)
{
    char command[1024];
    json_error_t error;
    int len = snprintf(
        command, sizeof(command),
        "exec fio --name=bench --filename='%s' --ioengine=io_uring --rw=%s --bs=%u "
        "--iodepth=%u --direct=%d --time_based --runtime=%.0fms --norandommap "
        "--randrepeat=0 --invalidate=0 --allow_file_create=0 --thread --output-format=json",
        job->path, job->pattern, job->len, job->depth, job->direct, job->seconds * 1000);
    if (job->processor >= 0)
        snprintf(command + len, sizeof(command) - (size_t)len, " --cpus_allowed=%d",
                 job->processor);
    FILE *output = popen(command, "re");
    if (!output)
        bench_die("can't run fio");
    json_t *report = json_loadf(output, 0, &error);
    if (pclose(output) != 0 || !report)
        bench_die("fio failed: %s", report ? "see above" : error.text);
    double operations = operations_of(report, strstr(job->pattern, "read") ? "read" : "write");
    json_decref(report);
    return operations;
}
