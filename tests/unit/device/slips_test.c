// SPDX-License-Identifier: BSD-3-Clause
/* What an author may get wrong: -EINVAL and a sentence, and never a crash. */
#include "device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/irq.h>
#include <outboard/state.h>

#include "device/state.h"
#include "fake/server_host.h"
#include "server/engine.h"
#include "support.h"

static int save_too_much(void *state, uint8_t *ret_buf, size_t size)
{
    return (int)size + 1;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    return 0;
}

static void doorbell(void *state, unsigned number)
{
}

static const struct ob_doorbell bell = {.bar = 0, .offset = 8, .size = 4};
static const struct ob_doorbell far_bell = {.bar = 0, .offset = 4096, .size = 4};
static const struct ob_doorbell odd_bell = {.bar = 0, .offset = 8, .size = 3};
static const struct ob_doorbell high_bell = {.bar = 0, .number = OB_DOORBELL_NUMBERS};
static const struct ob_doorbell lost_bell = {.bar = 6};
static char long_name[300];

#define MEM32(length)                                                                              \
    {                                                                                              \
        .kind = OB_BAR_MEM32, .size = (length)                                                     \
    }
#define MEMORY(length, ...)                                                                        \
    {                                                                                              \
        .kind = OB_BAR_MEM32, .flags = OB_BAR_MEMORY, .size = (length), .memory = { __VA_ARGS__ }  \
    }
#define NAMED .name = "slip"

static const struct {
    struct ob_device_desc desc;
    struct ob_device_ops ops;
    const char *says;
} slips[] = {
    {{.vendor_id = 1}, {0}, "has no name"},
    {{.name = ""}, {0}, "has no name"},
    {{.name = "two\nlines"}, {0}, "byte 0x0a at offset 3"},
    {{.name = long_name}, {0}, "more than 255 bytes"},
    {{NAMED, .vendor_id = 0xffff}, {0}, "vendor_id: got 0xffff"},
    {{NAMED, .class_code = 0x1000000}, {0}, "class_code: got 0x1000000"},
    {{NAMED, .bars = {{.size = 4096}}}, {0}, "BAR 0 has a size or flags and no kind"},
    {{NAMED, .bars = {{.kind = (enum ob_bar_kind)9, .size = 4096}}}, {0}, "an unknown kind"},
    {{NAMED, .bars = {{.kind = (enum ob_bar_kind) - 1, .size = 4096}}}, {0}, "an unknown kind"},
    {{NAMED, .bars = {MEM32(0)}}, {0}, "BAR 0: got a size of 0 bytes"},
    {{NAMED, .bars = {[1] = MEM32(4095)}}, {0}, "BAR 1: got a size of 4095 bytes"},
    {{NAMED, .bars = {MEM32(UINT64_C(1) << 32)}}, {0}, "BAR 0: got a size"},
    {{NAMED, .bars = {{.kind = OB_BAR_IO, .size = 512}}}, {0}, "BAR 0: got a size of 512"},
    {{NAMED, .bars = {{.kind = OB_BAR_IO, .size = 16, .flags = OB_BAR_PREFETCHABLE}}},
     {0},
     "port space"},
    {{NAMED, .bars = {{.kind = OB_BAR_MEM32, .size = 4096, .flags = 4}}}, {0}, "unknown flags 0x4"},
    {{NAMED, .bars = {{.kind = OB_BAR_MEM64, .size = 4096}, MEM32(16)}}, {0}, "the next BAR"},
    {{NAMED, .bars = {[5] = {.kind = OB_BAR_MEM64, .size = 4096}}}, {0}, "the next BAR"},
    {{NAMED, .bars = {MEMORY(2048, 0)}}, {0}, "whole pages"},
    {{NAMED, .bars = {MEMORY(8192, .offset = 4096, .len = 8192)}}, {0}, "whole pages"},
    {{NAMED, .bars = {MEMORY(8192, .offset = 4096)}}, {0}, "an offset and no length"},
    {{NAMED, .bars = {{.kind = OB_BAR_MEM32, .size = 8192, .memory = {.len = 4096}}}},
     {0},
     "without OB_BAR_MEMORY"},
    {{NAMED, .msi_vectors = 3}, {0}, "3 MSI vectors"},
    {{NAMED, .msi_vectors = 64}, {0}, "64 MSI vectors"},
    {{NAMED, .msix_vectors = 2049, .bars = {MEM32(65536)}}, {0}, "2049 MSI-X vectors"},
    {{NAMED, .msix_vectors = 4}, {0}, "MSI-X lies in BAR 0"},
    {{NAMED, .msix_vectors = 4, .msix_bar = 6}, {0}, "MSI-X lies in BAR 6"},
    {{NAMED, .msix_vectors = 4, .bars = {MEM32(64)}}, {0}, "does not fit BAR 0"},
    {{NAMED, .msix_vectors = 4, .msix_offset = 4, .bars = {MEM32(4096)}}, {0}, "multiple of 8"},
    {{NAMED, .msix_vectors = 4, .bars = {MEMORY(4096, 0)}}, {0}, "overlaps the memory of BAR 0"},
    {{NAMED, .num_doorbells = 1, .bars = {MEM32(4096)}}, {.doorbell = doorbell}, "is NULL"},
    {{NAMED, .num_doorbells = 1, .doorbells = &bell, .bars = {MEM32(4096)}},
     {0},
     "without a doorbell()"},
    {{NAMED, .num_doorbells = OB_DOORBELLS + 1, .doorbells = &bell, .bars = {MEM32(4096)}},
     {.doorbell = doorbell},
     "4097 doorbells"},
    {{NAMED, .num_doorbells = 1, .doorbells = &far_bell, .bars = {MEM32(4096)}},
     {.doorbell = doorbell},
     "outside of BAR 0"},
    {{NAMED, .num_doorbells = 1, .doorbells = &odd_bell, .bars = {MEM32(4096)}},
     {.doorbell = doorbell},
     "3 bytes"},
    {{NAMED, .num_doorbells = 1, .doorbells = &high_bell, .bars = {MEM32(4096)}},
     {.doorbell = doorbell},
     "number 2048"},
    {{NAMED, .num_doorbells = 1, .doorbells = &lost_bell, .bars = {MEM32(4096)}},
     {.doorbell = doorbell},
     "outside of BAR 6"},
    {{NAMED, .state_len = 4}, {.save = save_too_much}, "load() is missing"},
    {{NAMED, .state_len = 4}, {.load = load}, "save() is missing"},
    {{NAMED, .state_len = SIZE_MAX}, {.save = save_too_much, .load = load}, "state_len: got"},
};

static void each_slip_is_a_sentence(void **state)
{
    struct fake_host fake;
    fake_host_init(&fake);
    memset(long_name, 'x', sizeof(long_name) - 1);
    for (size_t i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        struct ob_device *device = NULL;
        struct ob_fault fault = {0};
        int err = device_new(&slips[i].desc, &slips[i].ops, NULL, &fake.host, &device, &fault);
        if (err != -EINVAL || !strstr(fault.text, slips[i].says))
            fail_msg("slip %zu: got %d and '%s', expected '%s'", i, err, fault.text, slips[i].says);
        assert_null(device);
        assert_int_equal(device_new(&slips[i].desc, &slips[i].ops, NULL, &fake.host, &device, NULL),
                         -EINVAL);
        assert_true(fake_is_empty(&fake));
    }
}

static void nothing_is_made_of_nothing(void **state)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), NAMED};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    struct ob_device *device = NULL;
    struct ob_fault fault = {0};
    assert_int_equal(ob_device_new(NULL, &ops, NULL, &device, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "no description"));
    fault = (struct ob_fault){0};
    assert_int_equal(ob_device_new(&desc, NULL, NULL, &device, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "no operations"));
    fault = (struct ob_fault){0};
    assert_int_equal(ob_device_new(&desc, &ops, NULL, NULL, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "ret_device"));
    assert_null(device);
}

static void ended(struct ob_dma_request *request, int result)
{
    *(int *)request->context = result;
}

/* An author's reset() or read() may run before create() has stored the device. */
static void a_device_that_is_not_there_yet_is_refused(void **state)
{
    uint8_t bytes[4] = {0};
    struct ob_dma_span span = {0};
    int result = 1;
    struct ob_dma_request request = {.buf = bytes, .len = 4, .done = ended, .context = &result};
    ob_irq_raise(NULL);
    ob_irq_lower(NULL);
    assert_false(ob_irq_ends_by_access(NULL));
    assert_int_equal(ob_irq_signal(NULL, 0), -EINVAL);
    assert_int_equal(ob_irq_report_error(NULL), -EINVAL);
    assert_int_equal(ob_irq_request_removal(NULL), -EINVAL);
    assert_int_equal(ob_dma_read(NULL, 0, bytes, 4), -EINVAL);
    assert_int_equal(ob_dma_write(NULL, 0, bytes, 4), -EINVAL);
    assert_int_equal(ob_dma_map(NULL, 0, 4, OB_DMA_TO_DEVICE, &span, 1), -EINVAL);
    ob_dma_unmap(NULL, &span, 1);
    assert_false(ob_dma_is_current(NULL, &span));
    ob_dma_submit(NULL, &request);
    assert_int_equal(result, -EINVAL);
    ob_dma_submit(NULL, NULL);
    ob_dma_cancel(NULL, &request);
    assert_null(ob_device_bar_memory(NULL, 0));
    assert_int_equal(ob_device_add_capability(NULL, 9, bytes, NULL, 4), -EINVAL);
    assert_int_equal(ob_device_watch(NULL, 0, OB_WATCH_READABLE, NULL, NULL), -EINVAL);
    ob_device_unwatch(NULL, 0);
    ob_device_warn(NULL, "nobody");
    ob_device_free(NULL);
}

static void ready(void *argument, unsigned events)
{
}

static void calls_with_bad_arguments_are_refused(void **state)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), NAMED, .always_master = true};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    struct fake_host fake;
    struct ob_device *device = NULL;
    struct ob_dma_span span = {0};
    uint8_t bytes[4] = {0};
    int result = 1;
    struct ob_dma_request request = {.buf = NULL, .len = 4, .done = ended, .context = &result};
    fake_host_init(&fake);
    assert_int_equal(device_new(&desc, &ops, NULL, &fake.host, &device, NULL), 0);
    assert_int_equal(ob_irq_signal(device, 0), -EINVAL);
    assert_int_equal(ob_dma_read(device, 0, NULL, 4), -EINVAL);
    assert_int_equal(ob_dma_write(device, 0, NULL, 4), -EINVAL);
    assert_int_equal(ob_dma_map(device, 0, 4, OB_DMA_TO_DEVICE, NULL, 1), -EINVAL);
    assert_int_equal(ob_dma_map(device, 0, 4, (enum ob_dma_direction)2, &span, 1), -EINVAL);
    ob_dma_submit(device, &request);
    assert_int_equal(result, -EINVAL);
    request = (struct ob_dma_request){.buf = bytes,
                                      .len = 4,
                                      .direction = (enum ob_dma_direction)7,
                                      .done = ended,
                                      .context = &result};
    result = 1;
    ob_dma_submit(device, &request);
    assert_int_equal(result, -EINVAL);
    request.done = NULL;
    ob_dma_submit(device, &request);
    assert_int_equal(fake.warnings, 1);
    ob_dma_unmap(device, NULL, 1);
    ob_dma_unmap(device, &span, 1);
    assert_false(ob_dma_is_current(device, &span));
    assert_int_equal(ob_device_watch(device, -1, OB_WATCH_READABLE, ready, NULL), -EBADF);
    assert_int_equal(ob_device_watch(device, 0, 0, ready, NULL), -EINVAL);
    assert_int_equal(ob_device_watch(device, 0, 4, ready, NULL), -EINVAL);
    assert_int_equal(ob_device_watch(device, 0, OB_WATCH_READABLE, NULL, NULL), -EINVAL);
    assert_int_equal(ob_device_add_capability(device, 0, bytes, NULL, 4), -EINVAL);
    assert_int_equal(ob_device_add_capability(device, 9, NULL, NULL, 4), -EINVAL);
    device_free(device);
    assert_true(fake_is_empty(&fake));
}

static void spans_are_given_back_once(void **state)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), NAMED, .always_master = true};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    struct fake_host fake;
    struct ob_device *device = NULL;
    struct ob_dma_span span = {0};
    fake_host_init(&fake);
    assert_int_equal(device_new(&desc, &ops, NULL, &fake.host, &device, NULL), 0);
    int fd = fake_file(&fake, 1);
    const struct memory_region_desc region = {.len = 4096, .fd = fd, .writable = true};
    assert_int_equal(memory_add(device_memory(device), &region, 1, NULL), 0);
    fake.host.close(&fake, fd);
    assert_int_equal(ob_dma_map(device, 0, 4, OB_DMA_FROM_DEVICE, &span, 1), 1);
    ob_dma_unmap(device, &span, 1);
    ob_dma_unmap(device, &span, 1);
    assert_int_equal(fake.mappings, 1);
    device_free(device);
    assert_true(fake_is_empty(&fake));
}

static void a_capability_that_comes_too_late_is_refused(void **state)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), NAMED};
    static const struct ob_device_ops ops = {.size = sizeof(ops)};
    static const uint8_t body[4];
    struct fake_host fake;
    struct ob_device *device = NULL;
    struct engine *engine = NULL;
    fake_host_init(&fake);
    assert_int_equal(device_new(&desc, &ops, NULL, &fake.host, &device, NULL), 0);
    assert_true(ob_device_add_capability(device, 9, body, NULL, 4) > 0);
    assert_int_equal(engine_new(&mpqemu_engine, device, &engine, NULL), 0);
    assert_int_equal(ob_device_add_capability(device, 9, body, NULL, 4), -EBUSY);
    engine_free(engine);
    device_free(device);
}

static void a_save_that_wrote_more_than_there_is_room_for_is_refused(void **state)
{
    static const struct ob_device_desc desc = {.size = sizeof(desc), NAMED, .state_len = 4};
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .save = save_too_much, .load = load};
    struct fake_host fake;
    struct ob_device *device = NULL;
    fake_host_init(&fake);
    assert_int_equal(device_new(&desc, &ops, NULL, &fake.host, &device, NULL), 0);
    uint8_t *buf = malloc(state_limit(device));
    assert_non_null(buf);
    assert_int_equal(state_save(device, buf, state_limit(device)), -EOVERFLOW);
    assert_int_equal(fake.warnings, 1);
    free(buf);
    device_free(device);
}

static void fields_of_nowhere_fail(void **state)
{
    uint32_t value = 5;
    struct ob_state_fields fields = ob_state_saved(NULL, 8);
    ob_state_u32(&fields, &value);
    assert_int_equal(ob_state_done(&fields), -ENOSPC);
    assert_int_equal(value, 5);
    fields = ob_state_loaded(NULL, 8);
    ob_state_u32(&fields, &value);
    assert_int_equal(ob_state_done(&fields), -EINVAL);
    assert_int_equal(value, 0);
    fields = ob_state_loaded(NULL, 0);
    assert_int_equal(ob_state_done(&fields), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_slip_is_a_sentence),
        TEST(nothing_is_made_of_nothing),
        TEST(a_device_that_is_not_there_yet_is_refused),
        TEST(calls_with_bad_arguments_are_refused),
        TEST(spans_are_given_back_once),
        TEST(a_capability_that_comes_too_late_is_refused),
        TEST(a_save_that_wrote_more_than_there_is_room_for_is_refused),
        TEST(fields_of_nowhere_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
