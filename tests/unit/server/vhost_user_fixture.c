// SPDX-License-Identifier: BSD-3-Clause
#include "server/vhost_user_fixture.h"

#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "server/vhost_user/vhost_user.h"
#include "support.h"

static bool notified(void *state, unsigned queue)
{
    struct fixture *f = state;
    struct ob_virtio_chain *chain;
    while ((chain = ob_virtio_take(f->device, queue))) {
        if (f->holds) {
            assert_true(f->num_chains < RING_SIZE);
            f->chains[f->num_chains++] = chain;
            continue;
        }
        ob_virtio_write(chain, 0, "done", 4);
        ob_virtio_complete(chain, 4);
    }
    return false;
}

static int negotiated(void *state, uint64_t features)
{
    ((struct fixture *)state)->negotiations++;
    return 0;
}

static void reset(void *state)
{
    ((struct fixture *)state)->resets++;
}

static void config(void *state, uint8_t *ret_config)
{
    memcpy(ret_config, ((struct fixture *)state)->config, CONFIG_LEN);
}

static void config_written(void *state, size_t offset, const uint8_t *bytes, size_t len)
{
    memcpy(((struct fixture *)state)->config + offset, bytes, len);
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    memcpy(ret_buf, ((struct fixture *)state)->own, OWN_LEN);
    return OWN_LEN;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    struct fixture *f = state;
    if (len != OWN_LEN)
        return -EINVAL;
    memcpy(f->own, buf, len);
    f->loads++;
    return 0;
}

void fixture_make(struct fixture *f)
{
    static const struct ob_virtio_ops ops = {.size = sizeof(ops),
                                             .notified = notified,
                                             .negotiated = negotiated,
                                             .reset = reset,
                                             .config = config,
                                             .config_written = config_written,
                                             .save = save,
                                             .load = load};
    static const struct ob_virtio_queue queues[2] = {{.size = 16}, {.size = 16}};
    static const struct ob_virtio_desc desc = {.size = sizeof(desc),
                                               .name = "unit",
                                               .type = 4,
                                               .features = 3,
                                               .queues = queues,
                                               .num_queues = 2,
                                               .config_len = CONFIG_LEN,
                                               .migratable = true,
                                               .state_len = OWN_LEN,
                                               .state_version = 1,
                                               .unordered_queues = true};
    *f = (struct fixture){.kick = -1, .call = -1};
    fake_host_init(&f->fake);
    assert_int_equal(device_virtio_new(&desc, &ops, f, &f->fake.host, &f->device, NULL), 0);
}

void fixture_start(struct fixture *f)
{
    fixture_make(f);
    assert_int_equal(engine_new(&vhost_user_engine, f->device, &f->engine, NULL), 0);
}

void fixture_stop(struct fixture *f)
{
    while (f->num_chains > 0)
        ob_virtio_complete(f->chains[--f->num_chains], 0);
    while (!engine_leave(f->engine))
        device_poll(f->device);
    engine_free(f->engine);
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

/* Takes the messages of the engine. */
static void listen(struct fixture *f)
{
    struct engine_output output;
    while ((output = engine_pending(f->engine)).len > 0) {
        assert_true(f->said_len + output.len <= sizeof(f->said));
        memcpy(f->said + f->said_len, output.bytes, output.len);
        f->said_len += output.len;
        f->said_fds += output.num_fds;
        engine_sent(f->engine, output.len);
    }
}

int fixture_send(struct fixture *f, uint32_t request, uint32_t flags, const void *payload,
                 size_t len, int fd)
{
    size_t room;
    uint8_t *to = engine_receive_space(f->engine, &room);
    const struct vhost_user_header header = {
        .request = request, .flags = flags, .size = (uint32_t)len};
    assert_true(room >= VHOST_USER_HEADER_LEN + len);
    vhost_user_header_put(to, VHOST_USER_HEADER_LEN, &header);
    if (len > 0)
        memcpy(to + VHOST_USER_HEADER_LEN, payload, len);
    f->said_len = f->said_fds = 0;
    int err = engine_received(f->engine, VHOST_USER_HEADER_LEN + len, &fd, fd >= 0 ? 1 : 0);
    listen(f);
    return err;
}

int fixture_send_u64(struct fixture *f, uint32_t request, uint32_t flags, uint64_t value, int fd)
{
    uint8_t payload[8];
    struct wr wr = wr_init(payload, sizeof(payload));
    wr_u64(&wr, value);
    return fixture_send(f, request, flags, payload, sizeof(payload), fd);
}

int fixture_send_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num)
{
    uint8_t payload[VHOST_USER_VRING_STATE_LEN];
    vhost_user_vring_state_put(payload, sizeof(payload),
                               &(struct vhost_user_vring_state){index, num});
    return fixture_send(f, request, VHOST_USER_VERSION, payload, sizeof(payload), -1);
}

static struct rd answer(struct fixture *f)
{
    struct vhost_user_header header;
    assert_int_equal(f->said_len, VHOST_USER_HEADER_LEN + 8);
    vhost_user_header_get(f->said, VHOST_USER_HEADER_LEN, &header);
    assert_int_equal(header.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
    assert_int_equal(header.size, 8);
    return rd_init(f->said + VHOST_USER_HEADER_LEN, 8);
}

uint64_t fixture_answer(struct fixture *f)
{
    struct rd rd = answer(f);
    return rd_u64(&rd);
}

uint32_t fixture_answer_num(struct fixture *f)
{
    struct rd rd = answer(f);
    rd_u32(&rd);
    return rd_u32(&rd);
}

void fixture_poll(struct fixture *f)
{
    while (device_poll(f->device) || device_before_sleep(f->device))
        ;
    f->said_len = f->said_fds = 0;
    assert_int_equal(engine_poke(f->engine), 0);
    listen(f);
}

void fixture_kick(struct fixture *f)
{
    fake_fire(&f->fake, f->kick);
    fixture_poll(f);
}

void fixture_add_memory(struct fixture *f, uint64_t gpa, uint64_t inode, uint32_t flags)
{
    uint8_t payload[VHOST_USER_MEM_REG_LEN] = {0};
    const struct vhost_user_region region = {
        .gpa = gpa, .size = FAKE_FILE_LEN, .user_address = USER + gpa};
    vhost_user_region_put(payload + 8, VHOST_USER_REGION_LEN, &region);
    assert_int_equal(fixture_send(f, VHOST_USER_ADD_MEM_REG, flags, payload, sizeof(payload),
                                  fake_file(&f->fake, inode)),
                     0);
}

void fixture_negotiate(struct fixture *f, uint64_t features)
{
    fixture_send(f, VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, -1);
    assert_int_equal(fixture_answer(f) & features, features);
    fixture_send(f, VHOST_USER_GET_PROTOCOL_FEATURES, VHOST_USER_VERSION, NULL, 0, -1);
    const uint64_t offered = fixture_answer(f);
    assert_int_equal(
        fixture_send_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_VERSION, offered, -1), 0);
    assert_int_equal(fixture_send_u64(f, VHOST_USER_SET_FEATURES, NEED_REPLY, features, -1), 0);
    assert_int_equal(fixture_answer(f), 0);
    fixture_add_memory(f, 0, 7, NEED_REPLY);
    assert_int_equal(fixture_answer(f), 0);
    memset(fixture_at(f, 0), 0, DATA);
}

void fixture_describe_ring(struct fixture *f, uint64_t desc, uint64_t avail, uint64_t used,
                           uint32_t base)
{
    uint8_t payload[VHOST_USER_VRING_ADDR_LEN];
    const struct vhost_user_vring_addr addr = {.desc = desc, .avail = avail, .used = used};
    vhost_user_vring_addr_put(payload, sizeof(payload), &addr);
    f->kick = fake_event(&f->fake);
    f->call = fake_event(&f->fake);
    assert_int_equal(fixture_send_state(f, VHOST_USER_SET_VRING_NUM, 0, RING_SIZE), 0);
    assert_int_equal(fixture_send_state(f, VHOST_USER_SET_VRING_BASE, 0, base), 0);
    assert_int_equal(fixture_send(f, VHOST_USER_SET_VRING_ADDR, VHOST_USER_VERSION, payload,
                                  sizeof(payload), -1),
                     0);
    assert_int_equal(fixture_send_u64(f, VHOST_USER_SET_VRING_CALL, VHOST_USER_VERSION, 0, f->call),
                     0);
    assert_int_equal(fixture_send_u64(f, VHOST_USER_SET_VRING_KICK, VHOST_USER_VERSION, 0, f->kick),
                     0);
}

void fixture_set_up_ring(struct fixture *f, uint64_t desc, uint64_t avail, uint64_t used,
                         uint32_t base)
{
    fixture_describe_ring(f, desc, avail, used, base);
    assert_int_equal(fixture_send_state(f, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
}

void fixture_start_ring(struct fixture *f, uint32_t base)
{
    fixture_set_up_ring(f, USER + DESC, USER + AVAIL, USER + USED, base);
}

uint8_t *fixture_at(struct fixture *f, uint64_t address)
{
    const struct vhost_user_server *server = (struct vhost_user_server *)f->engine;
    const struct ob_dma_region *region =
        memory_find((struct memory *)&server->memory.table, address);
    assert_non_null(region);
    return region->address + (address - region->gpa);
}

void fixture_put16(struct fixture *f, uint64_t address, uint16_t value)
{
    memcpy(fixture_at(f, address), &value, sizeof(value));
}

uint16_t fixture_get16(struct fixture *f, uint64_t address)
{
    uint16_t value;
    memcpy(&value, fixture_at(f, address), sizeof(value));
    return value;
}

void fixture_offer(struct fixture *f, uint16_t head, uint64_t address, uint32_t len)
{
    struct wr wr = wr_init(fixture_at(f, DESC + head * 16u), 16);
    const uint16_t idx = fixture_get16(f, AVAIL + 2);
    wr_u64(&wr, address);
    wr_u32(&wr, len);
    wr_u16(&wr, 2); /* WRITE */
    wr_u16(&wr, 0);
    fixture_put16(f, AVAIL + 4 + idx % RING_SIZE * 2u, head);
    fixture_put16(f, AVAIL + 2, (uint16_t)(idx + 1));
}
