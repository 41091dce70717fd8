// SPDX-License-Identifier: BSD-3-Clause
#include "device/pci.h"
#include "support.h"
#include "vfio_user_fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include <outboard/irq.h>

#include "failing_alloc.h"

#define MAPPED  0x10000u
#define UNKNOWN 0x100000ul

static size_t region_info(uint8_t *buf, uint16_t id, uint32_t index)
{
    const struct vfio_user_region_info info = {.argsz = 64, .index = index};
    uint8_t payload[VFIO_USER_REGION_INFO_LEN];
    vfio_user_region_info_put(payload, sizeof(payload), &info);
    return command(buf, id, VFIO_USER_DEVICE_GET_REGION_INFO, payload, sizeof(payload));
}

static void a_stream_may_come_in_any_pieces(void **state)
{
    uint8_t stream[1024];
    size_t len = command(stream, 0, VFIO_USER_VERSION, "\0\0\0\0{}", 7);
    for (uint16_t id = 1; id <= 4; id++)
        len += region_info(stream + len, id, id % 2);
    for (size_t piece = 1; piece <= len; piece++) {
        struct fixture f;
        struct sent reply;
        unsigned replies = 0, with_fd = 0;
        set_up(&f);
        for (size_t at = 0; at < len;) {
            size_t room, next = len - at < piece ? len - at : piece;
            engine_receive_space(f.engine, &room);
            if (next > room)
                next = room;
            assert_int_equal(receive(&f, stream + at, next, NULL, 0), 0);
            at += next;
            while (take(&f, &reply)) {
                assert_int_equal(reply.header.id, replies++);
                with_fd += reply.num_fds;
            }
        }
        assert_int_equal(replies, 5);
        assert_int_equal(with_fd, 2);
        tear_down(&f);
    }
}

static void a_descriptor_rides_on_its_own_reply(void **state)
{
    uint8_t stream[512];
    struct fixture f;
    set_up_serving(&f);
    size_t len = region_info(stream, 0, 0);
    len += region_info(stream + len, 1, 1);
    len += region_info(stream + len, 2, 0);
    assert_int_equal(receive(&f, stream, len, NULL, 0), 0);
    struct engine_output output = engine_pending(f.engine);
    assert_int_equal(output.len, 16 + 32); /* up to where the descriptor has to ride */
    assert_int_equal(output.num_fds, 0);
    assert_int_equal(engine_sent(f.engine, output.len), 0);
    output = engine_pending(f.engine);
    assert_int_equal(output.len, 16 + 64);
    assert_int_equal(output.num_fds, 1);
    assert_int_equal(engine_sent(f.engine, 1), 0); /* it is gone with the first byte */
    assert_int_equal(engine_pending(f.engine).num_fds, 0);
    while (engine_pending(f.engine).len > 0)
        assert_int_equal(engine_sent(f.engine, 1), 0);
    tear_down(&f);
}

static void a_peer_that_does_not_read_is_not_read(void **state)
{
    struct fixture f;
    struct sent reply;
    set_up_serving(&f);
    const struct vfio_user_access access = {.region = 1, .offset = 4096, .count = 4096};
    uint8_t payload[VFIO_USER_ACCESS_LEN], stream[64];
    vfio_user_access_put(payload, sizeof(payload), &access);
    size_t len = command(stream, 1, VFIO_USER_REGION_READ, payload, sizeof(payload));
    unsigned told = 0, taken = 0;
    for (size_t room = len; room >= len; engine_receive_space(f.engine, &room), told++)
        assert_int_equal(receive(&f, stream, len, NULL, 0), 0);
    assert_true(engine_pending(f.engine).len <= vfio_user_engine.tx_len);
    while (take(&f, &reply))
        taken++;
    assert_int_equal(taken, told);
    tear_down(&f);
}

static void dma_by_message_ends_when_the_reply_comes(void **state)
{
    static const char said[16] = "what memory says";
    struct fixture f;
    struct sent sent;
    uint8_t reply[32] = {0};
    set_up_serving(&f);
    submit(&f, OB_DMA_TO_DEVICE, UNKNOWN + 8, 16);
    assert_int_equal(f.ended, 0);
    assert_int_equal(engine_poke(f.engine), 0);
    assert_true(take(&f, &sent)); /* a write of nothing asks for the layout */
    assert_int_equal(sent.header.command, VFIO_USER_DMA_WRITE);
    assert_int_equal(sent.len, 16);
    assert_false(take(&f, &sent));
    assert_int_equal(answer(&f, &sent, sent.payload, 16), 0);
    assert_true(take(&f, &sent));
    assert_int_equal(sent.header.command, VFIO_USER_DMA_READ);
    memcpy(reply, sent.payload, 16);
    memcpy(reply + 16, said, sizeof(said));
    assert_int_equal(answer(&f, &sent, reply, 32), 0);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.result, 0);
    assert_memory_equal(f.buffer, said, sizeof(said));
    tear_down(&f);
}

static void a_client_that_is_no_qemu_is_not_asked_for_its_layout(void **state)
{
    static const char offer[] = "\0\0\0\0{\"capabilities\":{\"write_multiple\":true}}";
    struct fixture f;
    struct sent sent;
    set_up(&f);
    assert_int_equal(ask(&f, VFIO_USER_VERSION, offer, sizeof(offer), NULL, 0, &sent), 0);
    share(&f, UNKNOWN, -1);
    device_config_write(f.device, 4, 2, 4);
    submit(&f, OB_DMA_FROM_DEVICE, UNKNOWN, 8);
    assert_int_equal(engine_poke(f.engine), 0);
    assert_true(take(&f, &sent));
    assert_int_equal(sent.len, 16 + 8);
    assert_int_equal(answer(&f, &sent, sent.payload, 16), 0);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.result, 0);
    tear_down(&f);
}

static void memory_that_is_reached_by_messages_is_not_mapped(void **state)
{
    struct fixture f;
    struct sent sent;
    struct ob_dma_span span;
    set_up_serving(&f);
    memory_never_map(device_memory(f.device));
    unsigned open_before = fake_open_count(&f.fake), mapped_before = f.fake.mappings;
    share(&f, 2 * UNKNOWN, fake_file(&f.fake, 2));
    assert_int_equal(fake_open_count(&f.fake), open_before);
    assert_int_equal(f.fake.mappings, mapped_before);
    assert_int_equal(ob_dma_map(f.device, 2 * UNKNOWN, 8, OB_DMA_TO_DEVICE, &span, 1), -EREMOTE);
    submit(&f, OB_DMA_FROM_DEVICE, 2 * UNKNOWN, 8);
    assert_int_equal(engine_poke(f.engine), 0);
    assert_true(take(&f, &sent));
    assert_int_equal(sent.header.command, VFIO_USER_DMA_WRITE);
    tear_down(&f);
}

static void dma_to_shared_memory_ends_at_once(void **state)
{
    struct fixture f;
    set_up_serving(&f);
    submit(&f, OB_DMA_TO_DEVICE, MAPPED + 5, 4);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.result, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(f.buffer[i], fake_file_byte(1, 5 + i));
    submit(&f, OB_DMA_TO_DEVICE, 5, 4);
    assert_int_equal(f.result, -EFAULT);
    tear_down(&f);
}

static void dma_ends_with_the_peer_in_every_state(void **state)
{
    for (unsigned steps = 0; steps < 3; steps++) {
        struct fixture f;
        struct sent sent;
        set_up_serving(&f);
        submit(&f, OB_DMA_FROM_DEVICE, UNKNOWN, 16);
        if (steps > 0)
            assert_int_equal(engine_poke(f.engine), 0);
        if (steps > 1) {
            assert_true(take(&f, &sent));
            assert_int_equal(answer(&f, &sent, sent.payload, 0), 0);
        }
        engine_free(f.engine);
        f.engine = NULL;
        assert_int_equal(f.ended, 1);
        assert_int_equal(f.result, -ENOTCONN);
        f.result = 0;
        submit(&f, OB_DMA_FROM_DEVICE, UNKNOWN, 16);
        assert_int_equal(f.result, -ENOTCONN);
        tear_down(&f);
    }
}

static void dma_ends_with_a_peer_that_answers_another_command(void **state)
{
    struct fixture f;
    struct sent sent;
    set_up_serving(&f);
    submit(&f, OB_DMA_TO_DEVICE, UNKNOWN, 16);
    assert_int_equal(engine_poke(f.engine), 0);
    assert_true(take(&f, &sent));
    assert_int_equal(answer(&f, &sent, sent.payload, 16), 0);
    assert_true(take(&f, &sent));
    sent.header.command = VFIO_USER_DMA_WRITE;
    assert_int_equal(answer(&f, &sent, sent.payload, 16), -EPROTO);
    assert_int_equal(f.ended, 0);
    engine_free(f.engine);
    f.engine = NULL;
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.result, -ENOTCONN);
    tear_down(&f);
}

static void all_slots_are_used_and_the_rest_waits(void **state)
{
    struct fixture f;
    struct sent sent[LIMIT_VFIO_USER_DMA_MESSAGES], probe;
    struct ob_dma_request requests[LIMIT_VFIO_USER_DMA_MESSAGES + 3];
    const unsigned count = sizeof(requests) / sizeof(requests[0]);
    set_up_serving(&f);
    submit(&f, OB_DMA_TO_DEVICE, UNKNOWN, 8);
    for (unsigned i = 0; i < count; i++) {
        requests[i] = f.request;
        ob_dma_submit(f.device, &requests[i]);
    }
    assert_int_equal(engine_poke(f.engine), 0);
    assert_true(take(&f, &probe));
    assert_int_equal(answer(&f, &probe, probe.payload, 16), 0);
    unsigned taken = 0;
    while (taken < LIMIT_VFIO_USER_DMA_MESSAGES && take(&f, &sent[taken]))
        taken++;
    assert_int_equal(taken, LIMIT_VFIO_USER_DMA_MESSAGES);
    assert_int_equal(engine_pending(f.engine).len, 0);
    for (unsigned i = taken; i-- > 0;) /* replies may come in any order */
        assert_int_equal(answer(&f, &sent[i], sent[i].payload, 24), 0);
    assert_int_equal(f.ended, LIMIT_VFIO_USER_DMA_MESSAGES);
    device_reset(f.device);
    assert_int_equal(f.ended, count + 1);
    assert_int_equal(f.result, -ECANCELED);
    tear_down(&f);
}

static void unmap_waits_for_spans_and_goes_on_when_poked(void **state)
{
    struct fixture f;
    struct sent reply;
    struct ob_dma_span span;
    const struct vfio_user_dma_unmap unmap = {24, 0, MAPPED, 0x10000};
    uint8_t payload[VFIO_USER_DMA_UNMAP_LEN], stream[256];
    vfio_user_dma_unmap_put(payload, sizeof(payload), &unmap);
    set_up_serving(&f);
    assert_int_equal(ob_dma_map(f.device, MAPPED, 8, OB_DMA_TO_DEVICE, &span, 1), 1);
    size_t len = command(stream, 1, VFIO_USER_DMA_UNMAP, payload, sizeof(payload));
    len += region_info(stream + len, 2, 0);
    assert_int_equal(receive(&f, stream, len, NULL, 0), 0);
    assert_int_equal(engine_poke(f.engine), 0);
    assert_int_equal(engine_pending(f.engine).len, 0);
    assert_false(ob_dma_is_current(f.device, &span));
    size_t room;
    engine_receive_space(f.engine, &room);
    assert_int_equal(room, 0);
    ob_dma_unmap(f.device, &span, 1);
    assert_int_equal(engine_poke(f.engine), 0);
    assert_true(take(&f, &reply));
    assert_int_equal(reply.header.id, 1);
    assert_memory_equal(reply.payload, payload, sizeof(payload));
    assert_true(take(&f, &reply));
    assert_int_equal(reply.header.id, 2);
    tear_down(&f);
}

static void a_peer_may_go_while_its_unmap_waits(void **state)
{
    struct fixture f;
    struct ob_dma_span span;
    const struct vfio_user_dma_unmap unmap = {24, 0, MAPPED, 0x10000};
    uint8_t payload[VFIO_USER_DMA_UNMAP_LEN];
    vfio_user_dma_unmap_put(payload, sizeof(payload), &unmap);
    set_up_serving(&f);
    assert_int_equal(ob_dma_map(f.device, MAPPED, 8, OB_DMA_TO_DEVICE, &span, 1), 1);
    assert_int_equal(tell(&f, VFIO_USER_DMA_UNMAP, payload, sizeof(payload), NULL, 0), 0);
    engine_free(f.engine);
    f.engine = NULL;
    assert_int_equal(*(uint8_t *)span.address, fake_file_byte(1, 0));
    ob_dma_unmap(f.device, &span, 1);
    tear_down(&f);
}

static void unmap_all_waits_for_every_span(void **state)
{
    struct fixture f;
    struct sent reply;
    struct ob_dma_span spans[2];
    const struct vfio_user_dma_unmap unmap = {24, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0};
    uint8_t payload[VFIO_USER_DMA_UNMAP_LEN];
    vfio_user_dma_unmap_put(payload, sizeof(payload), &unmap);
    set_up_serving(&f);
    share(&f, 0x40000, fake_file(&f.fake, 2));
    assert_int_equal(ob_dma_map(f.device, MAPPED, 8, OB_DMA_TO_DEVICE, &spans[0], 1), 1);
    assert_int_equal(ob_dma_map(f.device, 0x40000, 8, OB_DMA_TO_DEVICE, &spans[1], 1), 1);
    assert_int_equal(tell(&f, VFIO_USER_DMA_UNMAP, payload, sizeof(payload), NULL, 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(engine_poke(f.engine), 0);
        assert_false(take(&f, &reply));
        ob_dma_unmap(f.device, &spans[i], 1);
    }
    assert_int_equal(engine_poke(f.engine), 0);
    assert_true(take(&f, &reply));
    assert_memory_equal(reply.payload, payload, sizeof(payload));
    assert_int_equal(f.fake.mappings, 0);
    assert_int_equal(ask(&f, VFIO_USER_DMA_UNMAP, payload, sizeof(payload), NULL, 0, &reply), 0);
    tear_down(&f);
}

static void a_doorbell_reaches_the_device(void **state)
{
    struct fixture f;
    struct sent reply;
    uint8_t payload[VFIO_USER_REGION_IO_FDS_LEN];
    const struct vfio_user_region_io_fds io_fds = {.argsz = 4096};
    vfio_user_region_io_fds_put(payload, sizeof(payload), &io_fds);
    set_up_serving(&f);
    assert_int_equal(
        ask(&f, VFIO_USER_DEVICE_GET_REGION_IO_FDS, payload, sizeof(payload), NULL, 0, &reply), 0);
    assert_int_equal(reply.num_fds, 1);
    fake_fire(&f.fake, reply.fds[0]);
    assert_int_equal(f.rings, 1);
    assert_int_equal(f.writes, 0);
    tear_down(&f);
}

/* What can't be had, or watched, is left out: the client writes the register by a message. */
static void a_doorbell_without_an_eventfd_is_left_out(void **state)
{
    struct fixture f;
    struct sent reply;
    uint8_t payload[VFIO_USER_REGION_IO_FDS_LEN];
    const struct vfio_user_region_io_fds io_fds = {.argsz = 4096};
    vfio_user_region_io_fds_put(payload, sizeof(payload), &io_fds);
    set_up_serving(&f);
    unsigned before = fake_open_count(&f.fake);
    f.fake.refuses_watch = true;
    assert_int_equal(
        ask(&f, VFIO_USER_DEVICE_GET_REGION_IO_FDS, payload, sizeof(payload), NULL, 0, &reply), 0);
    assert_int_equal(reply.num_fds, 0);
    assert_int_equal(fake_open_count(&f.fake), before);
    struct vfio_user_region_io_fds told = {0};
    vfio_user_region_io_fds_get(reply.payload, VFIO_USER_REGION_IO_FDS_LEN, &told);
    assert_int_equal(told.count, 0);
    f.fake.refuses_watch = false;
    assert_int_equal(
        ask(&f, VFIO_USER_DEVICE_GET_REGION_IO_FDS, payload, sizeof(payload), NULL, 0, &reply), 0);
    assert_int_equal(reply.num_fds, 1);
    tear_down(&f);
}

static void eventfds_are_taken_or_closed(void **state)
{
    struct fixture f;
    struct sent reply;
    uint8_t payload[VFIO_USER_IRQ_SET_LEN];
    const struct vfio_user_irq_set set = {
        20, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 1, 2};
    vfio_user_irq_set_put(payload, sizeof(payload), &set);
    set_up_serving(&f);
    unsigned before = fake_open_count(&f.fake);
    int fds[2] = {fake_event(&f.fake), fake_file(&f.fake, 9)};
    assert_int_equal(ask(&f, VFIO_USER_DEVICE_SET_IRQS, payload, sizeof(payload), fds, 2, &reply),
                     -EINVAL);
    assert_int_equal(fake_open_count(&f.fake), before);
    fds[0] = fake_event(&f.fake);
    fds[1] = fake_event(&f.fake);
    assert_int_equal(ask(&f, VFIO_USER_DEVICE_SET_IRQS, payload, sizeof(payload), fds, 2, &reply),
                     0);
    assert_int_equal(ob_irq_signal(f.device, 2), 0);
    assert_int_equal(fake_signals(&f.fake, fds[1]), 1);
    tear_down(&f);
}

static void no_memory_at_the_start_is_an_error(void **state)
{
    struct fixture f;
    set_up(&f);
    engine_free(f.engine);
    f.engine = NULL;
    for (unsigned nth = 1;; nth++) {
        struct ob_fault fault = {0};
        fail_allocation(nth);
        int err = engine_new(&vfio_user_engine, f.device, &f.engine, &fault);
        if (!allocation_failed())
            break;
        assert_int_equal(err, -ENOMEM);
        assert_int_equal(fault.code, -ENOMEM);
        assert_null(f.engine);
    }
    assert_non_null(f.engine);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stream_may_come_in_any_pieces),
        TEST(a_descriptor_rides_on_its_own_reply),
        TEST(a_peer_that_does_not_read_is_not_read),
        TEST(dma_by_message_ends_when_the_reply_comes),
        TEST(a_client_that_is_no_qemu_is_not_asked_for_its_layout),
        TEST(memory_that_is_reached_by_messages_is_not_mapped),
        TEST(dma_to_shared_memory_ends_at_once),
        TEST(dma_ends_with_the_peer_in_every_state),
        TEST(dma_ends_with_a_peer_that_answers_another_command),
        TEST(all_slots_are_used_and_the_rest_waits),
        TEST(unmap_waits_for_spans_and_goes_on_when_poked),
        TEST(a_peer_may_go_while_its_unmap_waits),
        TEST(unmap_all_waits_for_every_span),
        TEST(a_doorbell_reaches_the_device),
        TEST(a_doorbell_without_an_eventfd_is_left_out),
        TEST(eventfds_are_taken_or_closed),
        TEST(no_memory_at_the_start_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
