// SPDX-License-Identifier: BSD-3-Clause
/* include/outboard/virtio.h: not implemented yet, and says so. */
#include <outboard/virtio.h>

#include <errno.h>

int ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops, void *state,
                  struct ob_device **ret_device, struct ob_fault *fault)
{
    return ob_fault_set(fault, -ENOSYS, "ob_virtio_new(): not implemented yet");
}

struct ob_virtio_chain *ob_virtio_take(struct ob_device *device, unsigned queue)
{
    return NULL;
}

void ob_virtio_complete(struct ob_virtio_chain *chain, size_t written)
{
}

void ob_virtio_return(struct ob_virtio_chain *chain)
{
}

size_t ob_virtio_read(const struct ob_virtio_chain *chain, size_t offset, void *ret_buf, size_t len)
{
    return 0;
}

size_t ob_virtio_write(const struct ob_virtio_chain *chain, size_t offset, const void *buf,
                       size_t len)
{
    return 0;
}

bool ob_virtio_queue_runs(const struct ob_device *device, unsigned queue)
{
    return false;
}

uint64_t ob_virtio_features(const struct ob_device *device)
{
    return 0;
}

void ob_virtio_config_changed(struct ob_device *device)
{
}

void ob_virtio_fail(struct ob_device *device, const char *format, ...)
{
}
