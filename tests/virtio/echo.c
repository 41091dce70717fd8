// SPDX-License-Identifier: BSD-3-Clause
/*
 * A virtio device for tests: it does with chains all that a device can do.
 *
 * Queue 0, commands. The first readable byte says what is done, then the chain is completed:
 *   'e'  the bytes behind it are written to the writable part
 *   'r'  chains that are held are completed, the newest first
 *   'b'  chains that are held are returned, the newest first, and taken again
 *   'c'  both numbers of the configuration space count up
 *   'f'  the device fails
 * Queue 1: chains are held. Each gets its number, counted from the start, as a byte.
 *
 * Configuration space: u32 count, u32 count, u32 that the driver may write ('r': as the command), u32
 * features (low half).
 * --slow: let_go() does not give chains back. --in-order: IN_ORDER is offered.
 */
#include <errno.h>
#include <string.h>

#include <outboard/program.h>
#include <outboard/virtio.h>

#define MAX_HELD   128
#define CONFIG_LEN 16

struct echo {
    struct ob_device *device;
    bool slow;
    bool in_order;
    struct ob_virtio_chain *held[MAX_HELD];
    unsigned num_held;
    uint8_t number; /* of the next chain in queue 1 */
    uint32_t count;
    uint32_t written;
};

static void hold(struct echo *echo)
{
    struct ob_virtio_chain *chain;
    while (echo->num_held < MAX_HELD && (chain = ob_virtio_take(echo->device, 1)))
        echo->held[echo->num_held++] = chain;
}

static void release(struct echo *echo)
{
    while (echo->num_held > 0) {
        struct ob_virtio_chain *chain = echo->held[--echo->num_held];
        ob_virtio_complete(chain, ob_virtio_write(chain, 0, &echo->number, 1));
        echo->number++;
    }
}

static void give_back(struct echo *echo)
{
    while (echo->num_held > 0)
        ob_virtio_return(echo->held[--echo->num_held]);
}

static size_t answer(struct echo *echo, const struct ob_virtio_chain *chain)
{
    uint8_t bytes[4096];
    char command = 0;
    ob_virtio_read(chain, 0, &command, 1);
    if (command == 'r')
        release(echo);
    if (command == 'b')
        give_back(echo);
    if (command == 'f')
        ob_virtio_fail(echo->device, "it was told to");
    if (command == 'c') {
        echo->count++;
        ob_virtio_config_changed(echo->device);
    }
    if (command != 'e')
        return 0;
    return ob_virtio_write(chain, 0, bytes, ob_virtio_read(chain, 1, bytes, sizeof(bytes)));
}

static bool notified(void *state, unsigned queue)
{
    struct echo *echo = state;
    struct ob_virtio_chain *chain;
    if (queue == 1) {
        hold(echo);
        return false;
    }
    while ((chain = ob_virtio_take(echo->device, 0)))
        ob_virtio_complete(chain, answer(echo, chain));
    return false;
}

static void let_go(void *state, unsigned queue)
{
    struct echo *echo = state;
    if (queue == 1 && !echo->slow)
        give_back(echo);
}

static void config(void *state, uint8_t *ret_config)
{
    const struct echo *echo = state;
    const uint32_t fields[] = {echo->count, echo->count, echo->written,
                               (uint32_t)ob_virtio_features(echo->device)};
    memcpy(ret_config, fields, sizeof(fields));
}

static void config_written(void *state, size_t offset, const uint8_t *bytes, size_t len)
{
    struct echo *echo = state;
    if (offset == 8 && len == sizeof(echo->written))
        memcpy(&echo->written, bytes, len);
    if (echo->written == 'r')
        release(echo);
}

static int negotiated(void *state, uint64_t features)
{
    return features & 2 && !(features & 1) ? -EINVAL : 0; /* 1 needs 0 */
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    const struct echo *echo = state;
    *ret_buf = echo->number;
    return 1;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    struct echo *echo = state;
    if (len != 1)
        return ob_fault_set(fault, -EINVAL, "echo: got %zu bytes, expected 1", len);
    echo->number = *buf;
    return 0;
}

static int create(void *state, struct ob_device **ret_device, struct ob_fault *fault)
{
    struct echo *echo = state;
    static const struct ob_virtio_queue queues[] = {{.size = 16}, {.size = 64, .max_segments = 8}};
    const struct ob_virtio_desc desc = {.size = sizeof(desc),
                                        .name = "echo",
                                        .type = 42,
                                        .features = 7,
                                        .in_order = echo->in_order,
                                        .queues = queues,
                                        .num_queues = 2,
                                        .config_len = CONFIG_LEN,
                                        .migratable = true,
                                        .state_len = 1,
                                        .state_version = 1};
    static const struct ob_virtio_ops ops = {.size = sizeof(ops),
                                             .notified = notified,
                                             .negotiated = negotiated,
                                             .let_go = let_go,
                                             .config = config,
                                             .config_written = config_written,
                                             .save = save,
                                             .load = load};
    int err = ob_virtio_new(&desc, &ops, echo, &echo->device, fault);
    if (err == 0)
        *ret_device = echo->device;
    return err;
}

static int set_slow(void *state, const char *value, struct ob_fault *fault)
{
    ((struct echo *)state)->slow = true;
    return 0;
}

static int set_in_order(void *state, const char *value, struct ob_fault *fault)
{
    ((struct echo *)state)->in_order = true;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct ob_option options[] = {
        {"slow", NULL, "keep chains until 'r'", set_slow},
        {"in-order", NULL, "offer IN_ORDER", set_in_order},
        {0},
    };
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "echo",
        .summary = "A virtio device for tests.",
        .type = "echo",
        .options = options,
        .needs_shared_memory = true,
        .create = create,
    };
    static struct echo echo;
    return ob_program_main(&program, &echo, argc, argv);
}
