// SPDX-License-Identifier: BSD-3-Clause
/*
 * Server: serve devices from a loop of your own. For a program that only serves one device,
 * ob_program_main() (program.h) is better: it has a command line, a listener and the conventions of
 * launchers.
 *
 * A server serves one device to one VMM at a time. It has one file descriptor to wait for and one
 * function to call when that is readable:
 *
 *     ob_server_new(device, NULL, &server, &fault);
 *     ob_server_connect(server, accept(listener, NULL, NULL), &fault);
 *     for (;;) {
 *         struct ob_fault why = {0};
 *         poll(... ob_server_fd(server), POLLIN ...);
 *         if (ob_server_dispatch(server, &why) < 0)
 *             ...    // the VMM has gone or was dropped; the next one may connect
 *     }
 *
 * Between two VMMs the device keeps its state, and its descriptors and timers (watch.h, timer.h)
 * are still served.
 *
 * A process may have several servers, but only one thread may use them and their devices: all
 * callbacks of a device run in ob_server_dispatch(). The library starts one thread, which only
 * closes descriptors that VMMs sent. The last ob_server_free() ends it; if a close(2) hangs, the
 * thread ends when the close does. The library installs a handler of SIGBUS, because a VMM can
 * truncate shared memory; a SIGBUS elsewhere goes to the earlier handler. It changes no other
 * signal. Only ob_log() and ob_device_warn() write to standard error.
 *
 * While a device that polls (ob_device_ops.poll) has work, the descriptor stays readable and the
 * device is called. Otherwise a server does not poll, so a register access takes a few microseconds
 * longer than with ob_program_main().
 */
#ifndef OUTBOARD_SERVER_H
#define OUTBOARD_SERVER_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ob_server;

/** How to serve. Copied by ob_server_new(). */
struct ob_server_options {
    size_t size; /* sizeof(struct ob_server_options) */
    /* "mpqemu" or "vfio-user"; NULL: the VMM's first message selects it. */
    const char *wire;
    /* Guest memory is not mapped but accessed by messages, which only vfio-user has. The device
     * keeps this setting. Not for devices that use ob_dma_read(), ob_dma_write() or ob_dma_map()
     * (dma.h). */
    bool dma_by_messages;
};

/**
 * Make a server, which has no VMM yet.
 *
 * @device:     stays the caller's; free the server first.
 * @options:    NULL: all defaults.
 * @ret_server: free it with ob_server_free().
 * @fault:      may be NULL.
 *
 * Returns 0; -EINVAL when an argument is missing, the options have no size, or no wire has that
 * name; -EBUSY when the device is served already; -ENOMEM; or another negative errno when the
 * kernel refuses a resource (descriptors, a thread).
 */
OB_API int ob_server_new(struct ob_device *device, const struct ob_server_options *options,
                         struct ob_server **ret_server, struct ob_fault *fault);

/** A descriptor that is readable when ob_server_dispatch() has work. It belongs to the server, and
 * does not change. Wait for it by level: poll(2), select(2) or epoll(7) without EPOLLET. */
OB_API int ob_server_fd(const struct ob_server *server);

/**
 * Serve the VMM at the other end of a socket.
 *
 * @fd:    a connected stream socket of AF_UNIX. On success it becomes the server's, which closes it
 *         when the VMM has gone; otherwise it stays the caller's.
 * @fault: may be NULL.
 *
 * Returns 0; -EINVAL when there is no server; -EBUSY when it has a VMM; -EBADF, -ENOTSOCK,
 * -EPROTOTYPE or -ENOTCONN when @fd is not such a socket; -ENOTSUP when the wire can't carry the
 * device; -ENOMEM; or another negative errno.
 */
OB_API int ob_server_connect(struct ob_server *server, int fd, struct ob_fault *fault);

/** Whether the server has a VMM. */
OB_API bool ob_server_is_connected(const struct ob_server *server);

/**
 * Do the work that is due: read the VMM's messages, call the device, answer. It never waits, and
 * handles a bounded number of messages. A callback of the device may neither call it nor free the
 * server.
 *
 * @fault: filled when the VMM was dropped; may be NULL.
 *
 * Returns 0, or once, when the server has lost its VMM, a negative errno: -ENOTCONN when the VMM
 * has disconnected, -EPROTO when it broke the rules of the wire, -ENOTSUP when its wire can't carry
 * the device, or the errno of its socket. The errno comes when the device has given back the VMM's
 * memory (ob_device_ops.quiesced); until then the call returns 0. The socket is then closed, and
 * ob_server_connect() accepts the next VMM. -EINVAL when there is no server.
 */
OB_API int ob_server_dispatch(struct ob_server *server, struct ob_fault *fault);

/** Free the server, and close the VMM's socket, without waiting for the device. Another server may
 * serve the device afterwards. NULL is fine. */
OB_API void ob_server_free(struct ob_server *server);

#ifdef __cplusplus
}
#endif
#endif
