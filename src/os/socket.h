// SPDX-License-Identifier: BSD-3-Clause
/*
 * Unix stream sockets, with the descriptors that they carry, and other stream sockets. Nothing
 * waits but socket_wait() and socket_connect().
 *
 * The kernel closes a descriptor that is received without room for it, or that lies in a socket
 * when that is closed, in the very call; and close(2) may wait for as long as a peer likes. So the
 * functions here leave nothing to the kernel and hand unwanted descriptors to os/closer.h, which is to
 * be started before.
 */
#ifndef OUTBOARD_OS_SOCKET_H
#define OUTBOARD_OS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "base/limits.h"

struct received_fds {
    int fd[LIMIT_FDS_PER_RECEIVE];
    unsigned count;
};

/* Receives the bytes that are there, with the descriptors that ride on it (close-on-exec; the caller's).
 * Returns the length; -EAGAIN when nothing is there; -ENOTCONN at the end of the stream; -EPROTO
 * when more descriptors came than LIMIT_FDS_PER_RECEIVE, or the next message
 * might find no room among the open ones (all are closed); or another errno. */
ssize_t socket_receive(int fd, void *buf, size_t len, struct received_fds *ret_fds);

/* Whether the next message will find room for all that it may bring. */
bool socket_has_room(const struct received_fds *fds);

/* Has the kernel refuse descriptors at the sender, who gets EPERM, and lets nobody connected
 * through this listener send any. Linux 6.16 can; else, and on other descriptors than Unix sockets, nothing
 * happens. */
void socket_refuse_fds(int fd);

/* As read(2) on a socket where no descriptors are wanted: those that come
 * are closed elsewhere. Returns the length, 0 at the end of the stream, or -1 with errno. */
ssize_t socket_read(int fd, void *buf, size_t len);
/* The same into several pieces, as readv(2). */
ssize_t socket_read_pieces(int fd, const struct iovec *pieces, unsigned count);

/* Closes a connection, and the descriptors that its peer has sent. The peer sees its end at once; bytes
 * that were sent still arrive. A socket in which no descriptors can lie is closed as it is. */
void socket_close(int fd);

/* The same for a connection that breaks: a TCP peer sees a reset, not an end. */
void socket_close_abruptly(int fd);

/* Closes a listener, and the connections that were not accepted. */
void socket_listener_close(int fd);

/* Copies the bytes that are there, up to len, and leaves them there. Returns as socket_receive(). */
ssize_t socket_peek(int fd, void *buf, size_t len);

/* Sends as much as the kernel takes, with one descriptor on it unless fd_to_send is -1. Returns the
 * length; -EAGAIN when it takes nothing now; -ENOTCONN when the peer is gone; or another errno. */
ssize_t socket_send(int fd, const void *buf, size_t len, int fd_to_send);
/* The same with up to LIMIT_FDS_PER_RECEIVE descriptors on it. */
ssize_t socket_send_fds(int fd, const void *buf, size_t len, const int *fds, unsigned num_fds);

/* Whether fd is one that could be sent. */
bool descriptor_is_open(int fd);

bool descriptor_is_socket(int fd);

/* Waits for events of poll(2), or for the end of the stream. 0, -ETIMEDOUT once clock_now_ns() has
 * reached the deadline, or another errno. */
int socket_wait(int fd, short events, uint64_t deadline_ns);

/* Listens at a path, which a stale socket is removed from; mode is who may connect, whatever the
 * umask. Returns the descriptor, -EADDRINUSE when somebody listens there, -EEXIST when something
 * else than a socket is there, -ENAMETOOLONG, or another errno. */
int socket_listen(const char *path, mode_t mode);
/* The same for SOCK_SEQPACKET. */
int socket_listen_messages(const char *path, mode_t mode);

/* The socket that is at a path now, to be known again. */
struct socket_place {
    dev_t device;
    ino_t inode;
    struct timespec made; /* a file system may give the inode's number to the next socket at once */
};
/* 0 or a negative errno. */
int socket_find(const char *path, struct socket_place *ret_place);
/* Removes the path, unless somebody has put another socket there. */
void socket_remove(const char *path, const struct socket_place *place);

/* Whether fd is a socket that listens. */
bool socket_listens(int fd);
/* The process that has connected, as far as the kernel knows; else 0. */
pid_t socket_peer_pid(int fd);

/* Connects to a listener at a path. Returns the descriptor, -ETIMEDOUT when nobody accepts, or
 * another errno. */
int socket_connect(const char *path, unsigned timeout_ms);
/* Connects a SOCK_SEQPACKET socket, which does not wait. Returns the descriptor, -EAGAIN while too
 * many wait to be accepted, -EPROTOTYPE at a socket of another type, or another errno. */
int socket_connect_messages(const char *path);

/* Accepts one connection. Returns the descriptor or a negative errno. */
int socket_accept(int listener);

/* Whether fd is a connected stream socket. 0, or -ENOTSOCK, -EPROTOTYPE, -ENOTCONN, -EBADF. */
int socket_check(int fd);

/* TCP: small writes go out at once. */
void socket_set_no_delay(int fd);

#endif
