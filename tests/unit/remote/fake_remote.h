// SPDX-License-Identifier: BSD-3-Clause
/*
 * A vfio-user remote that answers only when the test lets it: a thread takes a given number of
 * messages and ends; in between the test has the socket to itself.
 */
#ifndef OUTBOARD_TESTS_FAKE_REMOTE_H
#define OUTBOARD_TESTS_FAKE_REMOTE_H

#include <outboard/client.h>

#include <pthread.h>

#include "wire/vfio_user.h"

#define PATIENCE_MS 30000
#define GREETING    15 /* messages */
#define BAR_LEN     0x1000u
#define MAX_MESSAGE 4096u

/* A message that came, and how many descriptors with it (they are closed). */
struct message {
    struct vfio_user_header header;
    uint8_t payload[MAX_MESSAGE];
    size_t len;
    unsigned num_fds;
};

struct fake_remote {
    int fd;
    pthread_t thread;
    unsigned count;      /* of messages to take */
    const char *version; /* the text of its VERSION */
    uint16_t minor;
    uint64_t bar_len;
    uint32_t bar_register;                     /* of BAR 0 */
    uint32_t refused[VFIO_USER_COMMAND_COUNT]; /* the errno that a command gets */
    bool refuses_resample; /* SET_IRQS that would have it watch the resample eventfd */
    uint64_t written;      /* what it says of REGION_WRITE_MULTI, if not 0 */
    /* Answers in place of the usual: makes the message what is said, and returns the length of its
     * payload. NULL: the usual. */
    size_t (*answer)(struct fake_remote *remote, struct message *message);
    void *context;    /* of `answer` */
    int reply_fds[2]; /* go with the next answer and stay the test's */
    unsigned num_reply_fds;
    struct message last; /* that it took */
};

/* A client of the remote. The greeting is still to come. */
struct ob_client *fake_remote_start(struct fake_remote *remote,
                                    const struct ob_client_options *options);
/* Takes so many messages and answers those that want an answer, while the test makes its calls...
 */
void fake_remote_serve(struct fake_remote *remote, unsigned count);
/* ...and waits until that is done. */
void fake_remote_join(struct fake_remote *remote);
/* The usual answer to a message, whose payload becomes that of the answer; returns its length. */
size_t fake_remote_answer(struct fake_remote *remote, struct message *message);
void fake_remote_stop(struct fake_remote *remote, struct ob_client *client);

/* For the test's own hand: takes one message; says something. */
void fake_remote_take(struct fake_remote *remote, struct message *ret_message);
void fake_remote_say(struct fake_remote *remote, uint16_t id, uint16_t command, uint32_t flags,
                     const void *payload, size_t len);

#endif
