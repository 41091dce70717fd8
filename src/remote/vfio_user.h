// SPDX-License-Identifier: BSD-3-Clause
/* Shared by the files that know vfio-user: messages out, answers in. */
#ifndef OUTBOARD_REMOTE_VFIO_USER_H
#define OUTBOARD_REMOTE_VFIO_USER_H

#include "remote/client.h"

/* Of the descriptors and the payload of one message. */
struct vfio_user_question {
    struct client_message message;
    const int *fds;
    unsigned num_fds;
};

/* vfio_user_message.c. Greets the remote unless that was done: its kind and its abilities are
 * known then. As client_call(); -EOPNOTSUPP when the client's wire is another. */
int vfio_user_meet(struct ob_client *client);

/* Sends a message and waits for its answer, which goes to *reply (NULL: none is expected to say
 * anything). As client_call(); -EOPNOTSUPP when the client's wire is another. */
int vfio_user_ask(struct ob_client *client, const struct vfio_user_question *question,
                  struct client_reply *reply);

/* The answer makes no sense: the remote is lost, for the reason in the fault. Returns -EPROTO. */
int vfio_user_reject(struct ob_client *client, const struct ob_fault *fault);

/* vfio_user_feature.c: asks for a device feature; the answer repeats the 8 bytes of its head, and
 * the rest goes to the data of *reply. As vfio_user_ask(). */
int vfio_user_ask_feature(struct ob_client *client, uint32_t flags, const uint8_t *data,
                          size_t data_len, struct client_reply *reply);
/* As above, to get a feature whose answer must be whole. */
int vfio_user_get_feature(struct ob_client *client, uint32_t number, const uint8_t *data,
                          size_t data_len, uint8_t *ret_data, size_t ret_len);

/* vfio_user_log.c: moves the pages that the remote has logged of a range into the client's half of the log.
 * 0, also where nothing is logged, or the errno of a call, which loses nothing. */
int vfio_user_fetch_log(struct ob_client *client, uint64_t start, uint64_t len);

/* vfio_user_memory.c: as struct remote_wire; and the remote's way to memory, for struct
 * client_host.
 */
int vfio_user_publish_memory(struct ob_client *client, const struct ob_client_region *regions,
                             unsigned count, struct ob_fault *fault);
int vfio_user_memory_read(void *context, uint64_t iova, void *ret_buf, size_t len);
int vfio_user_memory_write(void *context, uint64_t iova, const void *buf, size_t len);
struct memory_host vfio_user_memory_host(void);

/* vfio_user_irqs.c: as struct remote_wire; and to end the masking of INTx without waiting. */
int vfio_user_set_intx(struct ob_client *client, int trigger_fd, int resample_fd);
int vfio_user_unmask_intx(struct ob_client *client);

#endif
