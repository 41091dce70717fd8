// SPDX-License-Identifier: BSD-3-Clause
#include "compare.h"

#include <errno.h>
#include <string.h>

#include "completion.h"
#include "gate.h"
#include "nvme.h"
#include "prp.h"
#include "transfer.h"

static void done(struct block_io *io, int err);

static struct nvme_request *first(struct nvme *nvme)
{
    return nvme->compare.line;
}

/* Reads the next piece of the first command in line. */
static void read_piece(struct nvme *nvme)
{
    struct nvme_compare *compare = &nvme->compare;
    struct nvme_request *request = first(nvme);
    uint64_t left = request->io.len - compare->compared;
    size_t len = left < NVME_COMPARE_CHUNK ? (size_t)left : NVME_COMPARE_CHUNK;
    compare->iov = (struct iovec){.iov_base = compare->buffer, .iov_len = len};
    compare->io = (struct block_io){.op = BLOCK_READ,
                                    .offset = request->io.offset + compare->compared,
                                    .len = len,
                                    .iov = &compare->iov,
                                    .iov_count = 1,
                                    .done = done,
                                    .context = nvme};
    namespace_start(nvme, request->ns, &compare->io);
}

/* Whether the guest's data from `at` on equals the buffer. */
static bool same(const struct nvme_compare *compare, const struct nvme_transfer *transfer,
                 uint64_t at, size_t len)
{
    const uint8_t *read = compare->buffer;
    for (unsigned i = 0; i < transfer->span_count && len > 0; i++) {
        const struct ob_dma_span *span = &transfer->spans[i];
        if (at >= span->len) {
            at -= span->len;
            continue;
        }
        size_t piece = span->len - (size_t)at < len ? span->len - (size_t)at : len;
        if (memcmp((const uint8_t *)span->address + at, read, piece) != 0)
            return false;
        read += piece;
        len -= piece;
        at = 0;
    }
    return true;
}

static struct nvme_request *take_first(struct nvme *nvme)
{
    struct nvme_compare *compare = &nvme->compare;
    struct nvme_request *request = first(nvme);
    compare->line = request->next;
    if (!compare->line)
        compare->line_end = &compare->line;
    compare->compared = 0;
    return request;
}

/* Has the whole line begin again when the controller runs again, or the image does. */
static void park_line(struct nvme *nvme)
{
    while (first(nvme)) {
        struct nvme_request *request = take_first(nvme);
        prp_unmap(nvme, request->transfer);
        request_park(request);
    }
}

static void finish_first(struct nvme *nvme, int err, bool equal)
{
    struct nvme_request *request = take_first(nvme);
    if (err < 0 || equal) {
        request->io.op = BLOCK_READ;
        transfer_finish(request, err);
    } else {
        prp_unmap(nvme, request->transfer);
        completion_post(request, NVME_COMPARE_FAILURE | NVME_DO_NOT_RETRY);
    }
    if (first(nvme) && !gate_goes_on(nvme))
        park_line(nvme);
    else if (first(nvme))
        read_piece(nvme);
}

static void done(struct block_io *io, int err)
{
    struct nvme *nvme = io->context;
    struct nvme_compare *compare = &nvme->compare;
    struct nvme_request *request = first(nvme);
    namespace_ended(nvme);
    bool equal = err == 0 && same(compare, request->transfer, compare->compared, (size_t)io->len);
    compare->compared += io->len;
    bool goes_on = equal && compare->compared < request->io.len;
    if (err == -EAGAIN || (goes_on && !gate_goes_on(nvme)))
        park_line(nvme);
    else if (goes_on)
        read_piece(nvme);
    else
        finish_first(nvme, err, equal);
}

void compare_start(struct nvme_request *request)
{
    struct nvme *nvme = request->nvme;
    struct nvme_compare *compare = &nvme->compare;
    bool idle = !compare->line;
    request->next = NULL;
    *compare->line_end = request;
    compare->line_end = &request->next;
    if (idle)
        read_piece(nvme);
}

void compare_reset(struct nvme *nvme)
{
    nvme->compare.line = NULL;
    nvme->compare.line_end = &nvme->compare.line;
    nvme->compare.compared = 0;
}
