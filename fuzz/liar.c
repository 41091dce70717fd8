// SPDX-License-Identifier: BSD-3-Clause
#include "liar.h"

#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

#include <outboard/irq.h>

#include "check.h"
#include "os/log.h"
#include "os/socket.h"
#include "program/host.h"
#include "wire/vfio_user.h"

int __wrap_closer_start(void);
void __wrap_closer_close(int fd);
void __wrap_closer_close_socket(int fd);

/* Nothing here makes close(2) wait, so it needs no thread, and descriptors can be counted. */
int __wrap_closer_start(void)
{
    return 0;
}

void __wrap_closer_close(int fd)
{
    close(fd);
}

void __wrap_closer_close_socket(int fd)
{
    close(fd);
}

#define MOST_TURNED 8u /* receives in a turn */

static uint64_t read_register(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    return bar == 0 && offset == 0 ? 8192 : offset + bar; /* as a backdoor's data channel has */
}

static void write_register(void *state, unsigned bar, uint64_t offset, unsigned size,
                           uint64_t value)
{
}

static void doorbell(void *state, unsigned number)
{
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    memset(ret_buf, 0x5a, size);
    return (int)size;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    return 0;
}

static void ended(struct ob_dma_request *request, int result)
{
    ((struct liar *)request->context)->busy = false;
}

void liar_start(void)
{
    static bool started;
    CHECK(started || log_start("liar") == 0);
    started = true;
}

void liar_divide(const uint8_t *data, size_t size, struct rd *ret_steps, struct rd *ret_lies)
{
    size_t rest = size > 0 ? size - 1 : 0;
    size_t lies = size > 0 ? rest * data[0] / 255 : 0;
    *ret_steps = rd_init(size > 0 ? data + 1 : data, rest - lies);
    *ret_lies = rd_init(size > 0 ? data + 1 + (rest - lies) : data, lies);
}

void liar_init(struct liar *liar, struct rd *lies, const struct engine_ops *wire, int fd)
{
    static const struct ob_doorbell doorbells[] = {{.bar = 0, .offset = 16, .size = 4},
                                                   {.bar = 0, .offset = 32, .number = 3}};
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "liar",
        .vendor_id = 0x1af4,
        .device_id = 0x10f0,
        .intx = true,
        .always_master = true,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096},
                 {.kind = OB_BAR_MEM32, .flags = OB_BAR_MEMORY, .size = 8192},
                 {.kind = OB_BAR_MEM64, .size = 8192},
                 [4] = {.kind = OB_BAR_IO, .size = 16}},
        .msi_vectors = 4,
        .msix_vectors = 3,
        .msix_bar = 2,
        .doorbells = doorbells,
        .num_doorbells = 2,
        .state_len = 40,
    };
    static const struct ob_device_ops ops = {.size = sizeof(ops),
                                             .read = read_register,
                                             .write = write_register,
                                             .doorbell = doorbell,
                                             .save = save,
                                             .load = load};
    static const uint8_t body[] = {6, 0, 1, 2};
    *liar = (struct liar){.lies = lies, .fd = fd};
    CHECK(ob_device_new(&desc, &ops, liar, &liar->device, NULL) == 0);
    CHECK(loop_new(&liar->loop) == 0);
    CHECK(program_host_use_loop(liar->device, liar->loop) == 0);
    CHECK(ob_device_add_capability(liar->device, PCI_CAP_ID_VNDR, body, NULL, sizeof(body)) > 0);
    /* It has served another client before, so that what that one may have kept is replaced. */
    CHECK(engine_new(wire, liar->device, &liar->engine, NULL) == 0);
    engine_free(liar->engine);
    CHECK(engine_new(wire, liar->device, &liar->engine, NULL) == 0);
}

static void hang_up(struct liar *liar)
{
    if (liar->fd >= 0)
        close(liar->fd);
    liar->fd = -1;
    engine_free(liar->engine);
    liar->engine = NULL;
}

void liar_done(struct liar *liar)
{
    hang_up(liar);
    ob_device_free(liar->device);
    loop_free(liar->loop);
}

static void hold(struct liar *liar, const uint8_t *bytes, size_t len)
{
    size_t room = LIAR_HELD - liar->held_len;
    if (len > room)
        len = room;
    memcpy(liar->held + liar->held_len, bytes, len);
    liar->held_len += len;
}

/* Sends bytes as long as the client takes them. */
static void put(struct liar *liar, const uint8_t *bytes, size_t len, const int *fds, unsigned count)
{
    while (len > 0) {
        ssize_t sent = socket_send_fds(liar->fd, bytes, len, fds, count);
        if (sent <= 0)
            return;
        bytes += sent;
        len -= (size_t)sent;
        count = 0;
    }
}

static void put_error(struct liar *liar, const uint8_t *bytes)
{
    struct vfio_user_header header = {0};
    uint8_t error[VFIO_USER_HEADER_LEN];
    vfio_user_header_get(bytes, VFIO_USER_HEADER_LEN, &header);
    header.size = VFIO_USER_HEADER_LEN;
    header.flags |= VFIO_USER_ERROR;
    header.error = rd_u8(liar->lies);
    vfio_user_header_put(error, sizeof(error), &header);
    put(liar, error, sizeof(error), NULL, 0);
}

/* Cuts bytes off an answer, which says so itself. */
static void put_shorter(struct liar *liar, uint8_t *bytes, size_t len)
{
    struct vfio_user_header header = {0};
    len -= rd_u8(liar->lies) % (len - VFIO_USER_HEADER_LEN + 1);
    vfio_user_header_get(bytes, VFIO_USER_HEADER_LEN, &header);
    header.size = (uint32_t)len;
    vfio_user_header_put(bytes, VFIO_USER_HEADER_LEN, &header);
    put(liar, bytes, len, NULL, 0);
}

/* Sends what the engine has to say, changed. */
static void answer(struct liar *liar, const struct engine_output *output)
{
    static uint8_t bytes[1 << 16];
    size_t len = output->len < sizeof(bytes) ? output->len : sizeof(bytes);
    uint8_t how = liar->lies->left > 0 ? rd_u8(liar->lies) : 0;
    memcpy(bytes, output->bytes, len);
    size_t cut = len;
    switch (how >> 4) {
    case 0x9:
        if (how & 8 && len > VFIO_USER_HEADER_LEN)
            put_shorter(liar, bytes, len);
        return;
    case 0xa:
        hold(liar, bytes, len);
        return;
    case 0xb:
        for (unsigned i = 0; i <= how % 4; i++) {
            size_t at = rd_u16(liar->lies) % (how & 4 && len > 48 ? 48 : len);
            bytes[at] ^= rd_u8(liar->lies);
        }
        break;
    case 0xc:
        cut = rd_u16(liar->lies) % len;
        hold(liar, bytes + cut, len - cut);
        break;
    case 0xd:
        rd_bytes(liar->lies, liar->bytes, how % 16);
        hold(liar, liar->bytes, how % 16);
        break;
    case 0xe:
        if (len >= VFIO_USER_HEADER_LEN)
            put_error(liar, bytes);
        return;
    case 0xf:
        hang_up(liar);
        return;
    default:
        break;
    }
    put(liar, bytes, cut, output->fds, how & 8 && how >= 0x80 ? 0 : output->num_fds);
}

static void say(struct liar *liar)
{
    while (liar->engine) {
        struct engine_output output = engine_pending(liar->engine);
        if (output.len == 0)
            return;
        answer(liar, &output);
        if (liar->engine && engine_sent(liar->engine, output.len) < 0)
            hang_up(liar);
    }
}

/* What the device does of its own accord. */
static void act(struct liar *liar, uint8_t what)
{
    switch (what % 8) {
    case 1:
        ob_irq_raise(liar->device);
        break;
    case 2:
        ob_irq_lower(liar->device);
        break;
    case 3:
        ob_irq_signal(liar->device, what / 8 % 4);
        break;
    case 4:
    case 5:
        if (liar->busy)
            break;
        liar->busy = true;
        liar->request = (struct ob_dma_request){.iova = what / 8 * UINT64_C(0x1000) + what,
                                                .buf = liar->bytes,
                                                .len = LIAR_BYTES,
                                                .direction = what % 8 == 4 ? OB_DMA_TO_DEVICE
                                                                           : OB_DMA_FROM_DEVICE,
                                                .done = ended,
                                                .context = liar};
        ob_dma_submit(liar->device, &liar->request);
        break;
    default:
        break;
    }
}

static void hear(struct liar *liar)
{
    for (unsigned i = 0; i < MOST_TURNED && liar->engine; i++) {
        size_t room;
        struct received_fds fds;
        uint8_t *to = engine_receive_space(liar->engine, &room);
        ssize_t len = room > 0 ? socket_receive(liar->fd, to, room, &fds) : -1;
        if (len <= 0)
            return;
        int err = engine_received(liar->engine, (size_t)len, fds.fd, fds.count);
        say(liar);
        if (err < 0 && liar->engine)
            hang_up(liar);
    }
}

void liar_turn(struct liar *liar)
{
    uint8_t how = liar->lies->left > 0 ? rd_u8(liar->lies) : 0;
    if (!liar->engine || how >= 0xf0) /* deaf and mute, this time */
        return;
    size_t held = liar->held_len;
    liar->held_len = 0;
    put(liar, liar->held, held, NULL, 0);
    act(liar, how);
    loop_wait(liar->loop, 0);
    hear(liar);
    if (liar->engine && engine_poke(liar->engine) < 0)
        hang_up(liar);
    say(liar);
}
