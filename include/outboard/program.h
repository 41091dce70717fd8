// SPDX-License-Identifier: BSD-3-Clause
/*
 * Program: main() of a device program.
 *
 * A program goes through these stages, on one thread:
 *   options  the command line is read: ob_option.apply()
 *   open     all that is opened by path or name is opened: ob_program.open()
 *   create   the device is made: ob_program.create()
 *   serve    READY=1 is told and the peer's first byte read; ob_device_ops are called
 *   end      the device is freed, then ob_program.destroy() and close() are called
 * Neither options nor open may leave a thread behind. With --cell=default or required the process
 * is confined between open and create: later stages can't open paths, connect or start programs,
 * and a system call that the policy does not list ends the process, with its name on standard
 * error. After create, threads, memory for a VMM and copies of descriptors can't be made either.
 *
 * ob_program_main() gives a device program the interface of a back end: --fd=N or
 * --socket-path=PATH, --socket-mode=MODE, --wire=NAME, --poll-us=N, --dma=HOW,
 * --pci-id=VENDOR:DEVICE, --cell=HOW, --cell-policy=FILE, --user=UID, --print-cell, --trace[=FILE],
 * --print-capabilities, --help, --version, the notify protocol of systemd (READY=1, STATUS=), an
 * end at SIGTERM, and one clear line when it ends.
 *
 * Before anything else it opens those of descriptors 0 to 2 that are closed, on /dev/null, and has
 * SIGPIPE and SIGXFSZ ignored unless the program has handlers for them.
 */
#ifndef OUTBOARD_PROGRAM_H
#define OUTBOARD_PROGRAM_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** An option of the program's own: "--NAME=VALUE", or "--NAME" when it takes no value. */
struct ob_option {
    const char *name;    /* without the dashes */
    const char *metavar; /* name of the value for --help; NULL: takes no value */
    const char *help;    /* one line */
    /**
     * The option was given.
     *
     * @config: the pointer given to ob_program_main().
     * @value:  NULL when the option takes none; lives as long as the process.
     * @fault:  to be filled on failure: the wrong @value and the expected ones.
     *
     * Returns 0 or a negative errno, which is reported as text if @fault is empty.
     */
    int (*apply)(void *config, const char *value, struct ob_fault *fault);
};

struct ob_program {
    size_t size;                     /* sizeof(struct ob_program) */
    const char *name;                /* "outboard-backdoor" */
    const char *summary;             /* one line for --help */
    const char *version;             /* for --version: the program's own; NULL: the library's */
    const char *type;                /* for --print-capabilities: "backdoor" */
    const struct ob_option *options; /* ends with an entry whose name is NULL; may be NULL */
    /* The device needs ob_dma_read(), ob_dma_write() or ob_dma_map() (dma.h), which only reach
     * memory that the VMM shares: --dma=messages is refused. */
    bool needs_shared_memory;
    /* The only wire that can carry the device, "vfio-user" for one with BARs beyond 2 GiB or
     * without INTx; NULL: any. Others are not offered, and refused. */
    const char *wire;
    /**
     * Make the device, from descriptors that open() has opened.
     *
     * Returns 0 with @ret_device set, or a negative errno, with @fault filled if there is more to
     * say than that errno does.
     */
    int (*create)(void *config, struct ob_device **ret_device, struct ob_fault *fault);
    /** Undo create(), except for the device, which is freed already. May be NULL. */
    void (*destroy)(void *config);
    /**
     * Open all that the device needs and that has a path or a name: files, libraries, connections.
     * Options have been applied. May be NULL.
     *
     * Returns 0; or a negative errno, with @fault filled if there is more to say than that errno
     * does, and nothing left open: neither close() nor create() is called then.
     */
    int (*open)(void *config, struct ob_fault *fault);
    /** Undo open(). Also called if create() has failed. May be NULL. */
    void (*close)(void *config);
    /* Lines that are added to the policy of system calls: share/outboard/policy/default.policy has
     * the format. NULL: none. */
    const char *policy;
    /**
     * Whether the device opens paths or connects after open(). Its cell then keeps paths and the
     * network, and so protects less. May be NULL: no.
     */
    bool (*reaches_out)(void *config);
};

/**
 * Run a device program until SIGTERM comes. With --fd of a connected socket it also ends with that
 * peer; where it listens, nothing that a peer does ends it.
 *
 * @program: its description: at least name, summary, type and create. Up to 16 options, none of
 *           which may have a name that all programs have.
 * @config:  handed to its callbacks.
 *
 * Returns the exit status: 0 after a clean end, 1 when something failed, 2 for wrong usage. Call it
 * once, from main(), on the main thread.
 */
OB_API int ob_program_main(const struct ob_program *program, void *config, int argc, char **argv);

/**
 * Write a line to the program's log, standard error, with the program's name in front. It does not
 * wait: a line that there is no room for is dropped. Bytes that are not printable ASCII are written
 * as \NNN (octal). Of lines with the same @format some 30 are written at once and 12 in a minute;
 * others are counted, and the log tells how many there were. Drops and counts are told later.
 *
 * @format: printf format of the line, without a newline at its end.
 *
 * Any thread. stdout and stdio's stderr wait for who reads them; a device that writes there itself
 * stands still when its launcher stops reading.
 */
OB_API void ob_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/**
 * Read a decimal number for an option.
 *
 * Returns 0, or -EINVAL with @fault saying that @value is not a number from @min to @max.
 */
OB_API int ob_option_number(const char *value, uint64_t min, uint64_t max, uint64_t *ret_number,
                            struct ob_fault *fault);

#ifdef __cplusplus
}
#endif
#endif
