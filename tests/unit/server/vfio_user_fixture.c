// SPDX-License-Identifier: BSD-3-Clause
#include "vfio_user_fixture.h"
#include "device/pci.h"

#include "support.h"

#include <errno.h>
#include <string.h>

static uint64_t read_register(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    struct fixture *f = state;
    f->reads++;
    return offset;
}

static void write_register(void *state, unsigned bar, uint64_t offset, unsigned size,
                           uint64_t value)
{
    struct fixture *f = state;
    f->writes++;
}

static void ring(void *state, unsigned number)
{
    struct fixture *f = state;
    f->rings++;
}

static void reset(void *state)
{
    struct fixture *f = state;
    f->resets++;
}

void set_up(struct fixture *f)
{
    static const struct ob_doorbell doorbells[] = {{.bar = 0, .offset = 8, .number = 3}};
    static const struct ob_device_desc desc = {
        .name = "test",
        .intx = true,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096},
                 {.kind = OB_BAR_MEM32,
                  .flags = OB_BAR_MEMORY,
                  .size = 8192,
                  .memory = {.offset = 4096, .len = 4096}}},
        .msi_vectors = 2,
        .msix_vectors = 3,
        .msix_offset = 0x800,
        .doorbells = doorbells,
        .num_doorbells = 1,
    };
    static const struct ob_device_ops ops = {
        .read = read_register, .write = write_register, .doorbell = ring, .reset = reset};
    *f = (struct fixture){.result = 1};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&desc, &ops, f, &f->fake.host, &f->device, NULL), 0);
    assert_int_equal(engine_new(&vfio_user_engine, f->device, &f->engine, NULL), 0);
}

void share(struct fixture *f, uint64_t iova, int fd)
{
    const struct vfio_user_dma_map map = {32, 3, 0, iova, 0x10000};
    uint8_t payload[VFIO_USER_DMA_MAP_LEN];
    struct sent reply;
    vfio_user_dma_map_put(payload, sizeof(payload), &map);
    assert_int_equal(ask(f, VFIO_USER_DMA_MAP, payload, sizeof(payload), &fd, fd >= 0, &reply), 0);
}

void set_up_serving(struct fixture *f)
{
    static const char offer[] = "\0\0\0\0{\"capabilities\":"
                                "{\"max_msg_fds\":16,\"migration\":{\"pgsize\":4096}}}";
    struct sent reply;
    set_up(f);
    assert_int_equal(ask(f, VFIO_USER_VERSION, offer, sizeof(offer), NULL, 0, &reply), 0);
    share(f, 0x10000, fake_file(&f->fake, 1));
    share(f, 0x100000, -1);
    device_config_write(f->device, 4, 2, 4);
}

void tear_down(struct fixture *f)
{
    engine_free(f->engine);
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

int receive(struct fixture *f, const uint8_t *bytes, size_t len, const int *fds, unsigned num_fds)
{
    size_t room;
    uint8_t *to = engine_receive_space(f->engine, &room);
    assert_true(len <= room);
    memcpy(to, bytes, len);
    return engine_received(f->engine, len, fds, num_fds);
}

static size_t message(uint8_t *buf, const struct vfio_user_header *header, const void *payload,
                      size_t len)
{
    struct vfio_user_header whole = *header;
    whole.size = (uint32_t)(VFIO_USER_HEADER_LEN + len);
    vfio_user_header_put(buf, VFIO_USER_HEADER_LEN, &whole);
    if (len > 0)
        memcpy(buf + VFIO_USER_HEADER_LEN, payload, len);
    return whole.size;
}

size_t command(uint8_t *buf, uint16_t id, uint16_t number, const void *payload, size_t len)
{
    const struct vfio_user_header header = {.id = id, .command = number};
    return message(buf, &header, payload, len);
}

int tell(struct fixture *f, uint16_t number, const void *payload, size_t len, const int *fds,
         unsigned num_fds)
{
    uint8_t buf[2 * BUFFER_LEN];
    return receive(f, buf, command(buf, 7, number, payload, len), fds, num_fds);
}

bool take(struct fixture *f, struct sent *ret_sent)
{
    struct engine_output output = engine_pending(f->engine);
    if (output.len == 0)
        return false;
    assert_true(output.len >= VFIO_USER_HEADER_LEN);
    vfio_user_header_get(output.bytes, VFIO_USER_HEADER_LEN, &ret_sent->header);
    assert_true(ret_sent->header.size <= output.len);
    ret_sent->len = ret_sent->header.size - VFIO_USER_HEADER_LEN;
    assert_true(ret_sent->len <= sizeof(ret_sent->payload));
    memcpy(ret_sent->payload, output.bytes + VFIO_USER_HEADER_LEN, ret_sent->len);
    ret_sent->num_fds = output.num_fds;
    if (output.num_fds > 0)
        memcpy(ret_sent->fds, output.fds, output.num_fds * sizeof(int));
    engine_sent(f->engine, ret_sent->header.size);
    return true;
}

int ask(struct fixture *f, uint16_t number, const void *payload, size_t len, const int *fds,
        unsigned num_fds, struct sent *ret_reply)
{
    assert_int_equal(tell(f, number, payload, len, fds, num_fds), 0);
    *ret_reply = (struct sent){0};
    assert_true(take(f, ret_reply));
    assert_int_equal(ret_reply->header.command, number);
    assert_int_equal(ret_reply->header.id, 7);
    assert_true(ret_reply->header.flags & VFIO_USER_TYPE_REPLY);
    return ret_reply->header.flags & VFIO_USER_ERROR ? -(int)ret_reply->header.error : 0;
}

int answer(struct fixture *f, const struct sent *request, const void *payload, size_t len)
{
    uint8_t buf[2 * BUFFER_LEN];
    const struct vfio_user_header header = {.id = request->header.id,
                                            .command = request->header.command,
                                            .flags = VFIO_USER_TYPE_REPLY};
    size_t message_len = message(buf, &header, payload, len);
    return receive(f, buf, message_len, NULL, 0);
}

static void finished(struct ob_dma_request *request, int result)
{
    struct fixture *f = request->context;
    f->result = result;
    f->ended++;
}

void submit(struct fixture *f, enum ob_dma_direction direction, uint64_t iova, size_t len)
{
    f->request = (struct ob_dma_request){.iova = iova,
                                         .buf = f->buffer,
                                         .len = len,
                                         .direction = direction,
                                         .done = finished,
                                         .context = f};
    f->result = 1;
    ob_dma_submit(f->device, &f->request);
}
