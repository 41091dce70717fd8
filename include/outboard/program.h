// SPDX-License-Identifier: BSD-3-Clause
/*
 * Program: main() of a device program.
 *
 * A program has these stages, on one thread:
 *
 *   options  read the command line: ob_option.apply()
 *   open     open everything that has a path or a name: ob_program.open()
 *   create   make the device: ob_program.create()
 *   serve    notify READY=1, read the peer's first byte, call ob_device_ops
 *   end      free the device, then call ob_program.destroy() and close()
 *
 * Neither options nor open may leave a thread behind. With --cell=default or required the process
 * is confined between open and create. Later stages then can't open paths, connect or start
 * programs. A system call that the policy does not list ends the process, which names the call on
 * standard error. After create, the process can't make threads, memory for a VMM or copies of
 * descriptors either.
 *
 * ob_program_main() gives a device program the interface of a back end. These options select its
 * socket: --fd=N, --socket-path=PATH, --socket-mode=MODE, --wire=NAME. These set its behaviour:
 * --poll-us=N, --dma=HOW, --pci-id=VENDOR:DEVICE, --trace[=FILE]. These confine it: --cell=HOW,
 * --cell-policy=FILE, --user=UID. These print and end: --print-cell, --print-capabilities, --help,
 * --version. The program uses systemd's notify protocol (READY=1, STATUS=), ends at SIGTERM, and
 * gives the reason when it ends.
 *
 * First it opens each closed descriptor from 0 to 2 on /dev/null. It ignores SIGPIPE and SIGXFSZ
 * unless the program has handlers for them. It takes SIGRTMIN+10 and SIGRTMIN+11.
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
     * memory that the VMM shares. --dma=messages is then refused. */
    bool needs_shared_memory;
    /* The only wire that can carry the device: "vfio-user" for a device with BARs beyond 2 GiB or
     * without INTx. NULL: any wire. Other wires are not offered, and refused. */
    const char *wire;
    /**
     * Make the device, from descriptors that open() has opened.
     *
     * Returns 0 with @ret_device set, or a negative errno. Fill @fault if the errno alone does not
     * name the cause.
     */
    int (*create)(void *config, struct ob_device **ret_device, struct ob_fault *fault);
    /** Undo create(), except for the device, which is freed already. May be NULL. */
    void (*destroy)(void *config);
    /**
     * Open everything that the device needs and that has a path or a name: files, libraries,
     * connections, variables of the environment. In the cell the environment is empty except for
     * TZ, and the bytes of the old one are overwritten: copy them. Options have been applied. May be
     * NULL.
     *
     * Returns 0 or a negative errno. Fill @fault if the errno alone does not name the cause. On
     * failure leave nothing open: neither close() nor create() is called.
     */
    int (*open)(void *config, struct ob_fault *fault);
    /** Undo open(). Also called if create() has failed. May be NULL. */
    void (*close)(void *config);
    /* Lines that are added to the policy of system calls: share/outboard/policy/default.policy has
     * the format. NULL: none. */
    const char *policy;
    /**
     * Returns true if the device opens paths or connects after open(). Its cell then keeps paths
     * and the network, and so protects less. NULL: false.
     */
    bool (*reaches_out)(void *config);
    /* The device is made by ob_virtio_new() (virtio.h). Then vhost-user is offered too. */
    bool is_virtio;
    /* Sockets of other families than AF_UNIX may come to the device after open(), as from a process of
     * its own that connects for it. The cell then checks each reply for an address (0.1 us). */
    bool takes_sockets;
};

/**
 * Run a device program until SIGTERM. With --fd of a connected socket it also ends with that peer.
 * If it listens, a peer can't end it.
 *
 * @program: its description: at least name, summary, type and create. Up to 16 options; the names
 *           of the common options are reserved.
 * @config:  handed to its callbacks.
 *
 * Returns the exit status: 0 after a clean end, 1 when something failed, 2 for wrong usage. Call it
 * once, from main(), on the main thread.
 */
OB_API int ob_program_main(const struct ob_program *program, void *config, int argc, char **argv);

/**
 * Write a line to the program's log, standard error, after the program's name. It does not wait: if
 * there is no room, the line is dropped. Bytes that are not printable ASCII are written as \NNN
 * (octal). About 30 lines with the same @format are written at once, and 12 a minute after that.
 * The log reports the number of further lines and of dropped lines later.
 *
 * @format: printf format of the line, without a newline at its end.
 *
 * Any thread. stdout and stdio's stderr wait for their reader: a device that writes there stops
 * when its launcher stops reading.
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
