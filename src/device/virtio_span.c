// SPDX-License-Identifier: BSD-3-Clause
/* include/outboard/virtio.h: copies from and to the parts of a chain. */
#include <string.h>

#include <outboard/virtio.h>

/* Copies between a buffer and the spans of a part, as far as these reach. */
static size_t copy(const struct ob_dma_span *spans, unsigned count, size_t offset, uint8_t *buf,
                   size_t len, bool write)
{
    size_t done = 0;
    for (unsigned i = 0; i < count && done < len; i++) {
        const struct ob_dma_span *span = &spans[i];
        if (offset >= span->len) {
            offset -= span->len;
            continue;
        }
        const size_t left = span->len - offset;
        const size_t piece = len - done < left ? len - done : left;
        uint8_t *at = (uint8_t *)span->address + offset;
        if (write)
            memcpy(at, buf + done, piece);
        else
            memcpy(buf + done, at, piece);
        done += piece;
        offset = 0;
    }
    return done;
}

size_t ob_virtio_read(const struct ob_virtio_chain *chain, size_t offset, void *ret_buf, size_t len)
{
    return chain ? copy(chain->readable, chain->num_readable, offset, ret_buf, len, false) : 0;
}

size_t ob_virtio_write(const struct ob_virtio_chain *chain, size_t offset, const void *buf,
                       size_t len)
{
    return chain ? copy(chain->writable, chain->num_writable, offset, (uint8_t *)buf, len, true)
                 : 0;
}
