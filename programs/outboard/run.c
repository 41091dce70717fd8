// SPDX-License-Identifier: BSD-3-Clause
/* outboard run: a virtual machine from one file, its VMM and each of its devices a process. */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "os/log.h"
#include "supervisor/adoption.h"
#include "supervisor/supervisor.h"
#include "supervisor/vmm_probe.h"

#define RUNTIME_FOLDER_LEN 80

static void print_help(void)
{
    puts("usage: outboard run [--dry-run] FILE\n"
         "\n"
         "Starts each [device] of FILE, then the VMM of [machine]; forwards their logs; ends\n"
         "them together. FILE, for example:\n"
         "\n"
         "  [machine]\n"
         "    memory = \"1G\"\n"
         "    arguments = \"-nographic -kernel vmlinuz -append 'console=ttyS0'\"\n"
         "  [device \"disk0\"]\n"
         "    program = \"nvme\"\n"
         "    image = \"disk.img\"\n"
         "\n"
         "  --dry-run  print the processes, and start nothing\n"
         "\n"
         "Exit status: 0, 1 (this program), 2 (FILE or the command line), 3 (a device), 4 (the\n"
         "VMM).");
}

/* A line for each process: its descriptors as comments, then its command. */
static void print_plan(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->device_count; i++) {
        const struct plan_device *device = &plan->devices[i];
        if (device->socket == PLAN_PATH)
            printf("# %s listens at %s\n", device->id, device->path);
        else if (device->socket == PLAN_LISTENER)
            printf("# %s: its descriptor %d listens at %s\n", device->id, PLAN_FIRST_FD,
                   device->path);
        else
            printf("# %s: its descriptor %d is connected to the VMM's %d\n", device->id,
                   PLAN_FIRST_FD, device->fd);
        words_print(&device->command, stdout);
    }
    if (plan->vmm.count > 0) {
        puts("# the VMM");
        words_print(&plan->vmm, stdout);
    }
}

static const char *runtime_base(void)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    return base && *base ? base : geteuid() == 0 ? "/run" : "/tmp";
}

/* Makes the folder of the sockets that the supervisor makes, which only our user may enter; `dry`:
 * names it. */
static int runtime_folder_new(bool dry, char folder[RUNTIME_FOLDER_LEN], struct ob_fault *fault)
{
    const char *base = runtime_base();
    int len = snprintf(folder, RUNTIME_FOLDER_LEN, "%s/outboard-XXXXXX", base);
    if (len >= RUNTIME_FOLDER_LEN)
        return ob_fault_set(fault, -ENAMETOOLONG,
                            "XDG_RUNTIME_DIR: got %d bytes, expected at most %d", (int)strlen(base),
                            RUNTIME_FOLDER_LEN - (int)sizeof("/outboard-XXXXXX"));
    if (dry || mkdtemp(folder))
        return 0;
    int err = -errno;
    *folder = '\0';
    return ob_fault_set(fault, err, "can't make a folder in %.80s: %s; set XDG_RUNTIME_DIR", base,
                        strerror(-err));
}

static int make_plan(const struct config *config, const char *folder, struct plan **ret_plan,
                     struct ob_fault *fault)
{
    struct vmm_ability ability = {0};
    int err = plan_vmm(config) ? vmm_probe(plan_vmm(config), &ability, fault) : 0;
    return err < 0 ? err : plan_make(config, &ability, folder, ret_plan, fault);
}

static int run(const char *path, bool dry)
{
    struct ob_fault fault = {0};
    struct config *config = NULL;
    struct plan *plan = NULL;
    char folder[RUNTIME_FOLDER_LEN] = "";
    int status = SUPERVISOR_OK;
    if (config_read(path, &config, &fault) < 0 || runtime_folder_new(dry, folder, &fault) < 0 ||
        make_plan(config, folder, &plan, &fault) < 0) {
        log_line("%s", fault.text);
        status = EXIT_USAGE;
    } else if (dry) {
        print_plan(plan);
    } else {
        status = (int)supervisor_run(plan);
    }
    if (!dry && *folder)
        rmdir(folder);
    plan_free(plan);
    config_free(config);
    return status;
}

int cmd_run(int argc, char **argv)
{
    const char *path = NULL;
    bool dry = false;
    if (log_start("outboard run") < 0)
        return EXIT_FAILURE;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        if (strcmp(argv[i], "--dry-run") == 0) {
            dry = true;
        } else if (argv[i][0] == '-' || path) {
            log_line("got '%s', expected [--dry-run] FILE", argv[i]);
            return EXIT_USAGE;
        } else {
            path = argv[i];
        }
    }
    if (!path) {
        log_line("got no FILE; give one (`outboard run --help` shows its form)");
        return EXIT_USAGE;
    }
    return run(path, dry);
}

/* The machine of a file whose supervisor has died. 0; or a negative errno with the fault filled. */
static int find_orphan(const char *path, char folder[RUNTIME_FOLDER_LEN], struct adoption *adoption,
                       struct ob_fault *fault)
{
    char pattern[RUNTIME_FOLDER_LEN], file[PATH_MAX];
    glob_t found = {0};
    int err = -ENOENT;
    snprintf(pattern, sizeof(pattern), "%s/outboard-??????", runtime_base());
    if (!realpath(path, file))
        return ob_fault_set(fault, -errno, "can't read %.100s: %s", path, strerror(errno));
    glob(pattern, GLOB_NOSORT, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc && err == -ENOENT; i++) {
        err = adoption_open(found.gl_pathv[i], adoption, fault);
        if (err == 0 && strcmp(adoption->file, file) != 0) {
            adoption_close(adoption);
            err = -ENOENT;
        }
        if (err == 0)
            snprintf(folder, RUNTIME_FOLDER_LEN, "%s", found.gl_pathv[i]);
    }
    globfree(&found);
    return err == -ENOENT ? ob_fault_set(fault, err,
                                         "%.100s: found no machine that was started with it and "
                                         "whose outboard run has died",
                                         path)
                          : err;
}

static int adopt(const char *path)
{
    struct ob_fault fault = {0};
    struct config *config = NULL;
    struct plan *plan = NULL;
    struct adoption adoption;
    char folder[RUNTIME_FOLDER_LEN] = "";
    if (find_orphan(path, folder, &adoption, &fault) < 0) {
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    }
    int status = EXIT_USAGE;
    if (config_read(path, &config, &fault) < 0 || make_plan(config, folder, &plan, &fault) < 0) {
        log_line("%s", fault.text);
        adoption_close(&adoption);
    } else {
        status = (int)supervisor_adopt(plan, &adoption);
        rmdir(folder); /* unless it is still in use */
    }
    plan_free(plan);
    config_free(config);
    return status;
}

int cmd_adopt(int argc, char **argv)
{
    if (log_start("outboard adopt") < 0)
        return EXIT_FAILURE;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        puts("usage: outboard adopt FILE\n"
             "\n"
             "Continues for an `outboard run FILE` that was killed: it watches the VMM and the\n"
             "devices, restarts these, and ends them together.");
        return EXIT_SUCCESS;
    }
    if (argc != 2 || argv[1][0] == '-') {
        log_line("got %s, expected FILE", argc < 2 ? "no FILE" : argv[argc - 1]);
        return EXIT_USAGE;
    }
    return adopt(argv[1]);
}
