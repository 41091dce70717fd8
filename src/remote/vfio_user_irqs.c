// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts of a vfio-user remote: DEVICE_SET_IRQS.
 *
 * INTx is masked by the remote whenever it has signalled, until it is unmasked: by the resample
 * eventfd where the remote knows that, else by a message for each signal of it.
 */
#include <errno.h>
#include <linux/vfio.h>

#include <outboard/client_irq.h>

#include "os/socket.h"
#include "remote/vfio_user.h"

static int set_irqs(struct ob_client *client, const struct vfio_user_irq_set *set, const int *fds)
{
    uint8_t head[VFIO_USER_IRQ_SET_LEN];
    vfio_user_irq_set_put(head, sizeof(head), set);
    const struct vfio_user_question question = {
        .message = {.command = VFIO_USER_DEVICE_SET_IRQS, .head = head, .head_len = sizeof(head)},
        .fds = fds,
        .num_fds = fds ? set->count : 0,
    };
    return vfio_user_ask(client, &question, NULL);
}

static const struct vfio_user_irq_set unmask_intx = {.argsz = VFIO_USER_IRQ_SET_LEN,
                                                     .flags = VFIO_IRQ_SET_DATA_NONE |
                                                              VFIO_IRQ_SET_ACTION_UNMASK,
                                                     .index = VFIO_PCI_INTX_IRQ_INDEX,
                                                     .count = 1};

static int set_intx(struct ob_client *client, uint32_t action, int fd)
{
    const struct vfio_user_irq_set set = {.argsz = VFIO_USER_IRQ_SET_LEN,
                                          .flags = VFIO_IRQ_SET_DATA_EVENTFD | action,
                                          .index = VFIO_PCI_INTX_IRQ_INDEX,
                                          .count = 1};
    return set_irqs(client, &set, &fd);
}

int vfio_user_unmask_intx(struct ob_client *client)
{
    uint8_t head[VFIO_USER_IRQ_SET_LEN];
    vfio_user_irq_set_put(head, sizeof(head), &unmask_intx);
    const struct client_message message = {.command = VFIO_USER_DEVICE_SET_IRQS,
                                           .posted = true,
                                           .head = head,
                                           .head_len = sizeof(head)};
    const struct client_request request = {.operation = CLIENT_MESSAGE, .message = &message};
    return client_send_now(client, &request);
}

/* Meets the remote and checks the vectors against its own. */
static int check_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                         unsigned count)
{
    int err = vfio_user_meet(client);
    if (err < 0)
        return err;
    if ((unsigned)kind >= OB_CLIENT_IRQ_KINDS)
        return -EINVAL;
    uint32_t present = client->remote->vectors[kind];
    return start <= present && count <= present - start ? 0 : -EINVAL;
}

int vfio_user_set_intx(struct ob_client *client, int trigger_fd, int resample_fd)
{
    int err = check_vectors(client, OB_CLIENT_INTX, 0, 1);
    if (err == 0)
        err = set_intx(client, VFIO_IRQ_SET_ACTION_TRIGGER, trigger_fd);
    if (err < 0)
        return err;
    err = set_intx(client, VFIO_IRQ_SET_ACTION_UNMASK, resample_fd);
    const int verdict = err == -EREMOTEIO ? INTX_UNMASK_BY_MESSAGE : 0;
    if (err < 0 && err != -EREMOTEIO)
        return err;
    /* It may be masked since the eventfds of before. */
    err = set_irqs(client, &unmask_intx, NULL);
    return err < 0 ? err : verdict;
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

int ob_client_set_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                          unsigned count, const int *fds)
{
    int err = check_vectors(client, kind, start, count);
    for (unsigned i = 0; fds && i < count && err == 0; i++)
        if (!descriptor_is_open(fds[i]))
            err = -EBADF;
    struct vfio_user_irq_set set = {.argsz = VFIO_USER_IRQ_SET_LEN,
                                    .flags =
                                        VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                                    .index = kind,
                                    .start = start};
    if (err == 0 && count == 0) {
        set.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
        set.start = 0;
        return set_irqs(client, &set, NULL);
    }
    unsigned piece = fds ? client->engine.capabilities.max_msg_fds : count;
    if (err == 0 && piece == 0)
        err = -EOPNOTSUPP; /* the remote takes no descriptors */
    for (unsigned done = 0; done < count && err == 0; done += set.count) {
        set.start = start + done;
        set.count = smaller(piece, count - done);
        err = set_irqs(client, &set, fds ? fds + done : NULL);
    }
    return err;
}

static int act_on_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                          unsigned count, uint32_t action)
{
    int err = check_vectors(client, kind, start, count);
    const struct vfio_user_irq_set set = {.argsz = VFIO_USER_IRQ_SET_LEN,
                                          .flags = VFIO_IRQ_SET_DATA_NONE | action,
                                          .index = kind,
                                          .start = start,
                                          .count = count};
    if (err == 0 && count == 0)
        err = -EINVAL;
    return err < 0 ? err : set_irqs(client, &set, NULL);
}

int ob_client_mask_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                           unsigned count, bool masked)
{
    return act_on_vectors(client, kind, start, count,
                          masked ? VFIO_IRQ_SET_ACTION_MASK : VFIO_IRQ_SET_ACTION_UNMASK);
}

int ob_client_trigger_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                              unsigned count)
{
    return act_on_vectors(client, kind, start, count, VFIO_IRQ_SET_ACTION_TRIGGER);
}
