// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard-rng: random bytes for a guest, and the smallest virtio device (docs/your-virtio-device.md).
 *
 * The driver queues empty buffers. The device fills them with random bytes of the host's kernel,
 * at most MAX_LEN at a time, and gives them back (virtio 1.2, section 5.4). It has no configuration
 * space, no feature and no state of its own.
 */
#include <errno.h>
#include <sys/random.h>

#include <outboard/program.h>
#include <outboard/vault.h>
#include <outboard/virtio.h>

#define TYPE_ENTROPY 4
#define MAX_LEN      4096u /* of one chain; the driver asks again for more */

struct rng {
    struct ob_device *device;
};

/* Returns how many bytes it has written. The kernel gives up to 256 bytes whole, and may give less of
 * more. */
static size_t fill(const struct ob_virtio_chain *chain)
{
    uint8_t bytes[MAX_LEN];
    size_t len = chain->writable_len < MAX_LEN ? chain->writable_len : MAX_LEN;
    ssize_t got = getrandom(bytes, len, GRND_NONBLOCK);
    return got > 0 ? ob_virtio_write(chain, 0, bytes, (size_t)got) : 0;
}

static bool notified(void *state, unsigned queue)
{
    const struct rng *rng = state;
    struct ob_virtio_chain *chain;
    while ((chain = ob_virtio_take(rng->device, queue)))
        ob_virtio_complete(chain, fill(chain));
    return false;
}

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_virtio_queue queue = {.size = 8, .max_segments = 64};
    static const struct ob_virtio_desc desc = {
        .size = sizeof(desc),
        .name = "rng",
        .type = TYPE_ENTROPY,
        .queues = &queue,
        .num_queues = 1,
        .migratable = true,
    };
    static const struct ob_virtio_ops ops = {.size = sizeof(ops), .notified = notified};
    static const struct ob_vault_state no_more = {.size = sizeof(no_more)};
    struct rng *rng = config;
    int err = ob_virtio_new(&desc, &ops, rng, &rng->device, fault);
    if (err == 0) {
        *ret_device = rng->device;
        err = ob_vault_keep(rng->device, &no_more);
    }
    return err;
}

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "outboard-rng",
        .summary = "A virtio device that gives a guest random bytes of the host.",
        .type = "rng",
        .needs_shared_memory = true,
        .is_virtio = true,
        .create = create,
    };
    static struct rng rng;
    return ob_program_main(&program, &rng, argc, argv);
}
