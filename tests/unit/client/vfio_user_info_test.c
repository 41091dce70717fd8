// SPDX-License-Identifier: BSD-3-Clause
/* What a client believes of what a vfio-user remote says of itself. */
#include "client/vfio_user_info.h"

#include "support.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <string.h>

#include "base/cursor.h"

#define SIZE   0x4000u
#define MAPPED (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_MMAP)
#define CAPS   (MAPPED | VFIO_REGION_INFO_FLAG_CAPS)

static const struct vfio_user_capabilities offered = {.max_msg_fds = 16,
                                                      .max_data_xfer_size = 1u << 20,
                                                      .pgsizes = 4096,
                                                      .max_dma_maps = 65535,
                                                      .write_multiple = true};

static int agree(const char *numbers, const char *text, struct vfio_user_capabilities *ret_agreed)
{
    uint8_t buf[4 + 512];
    struct ob_fault fault = {0};
    size_t len = text ? strlen(text) + 1 : 0;
    memcpy(buf, numbers, 4);
    if (text)
        memcpy(buf + 4, text, len);
    int err = vfio_user_agreement_parse(buf, 4 + len, &offered, ret_agreed, &fault);
    assert_int_equal(fault.code, err);
    return err;
}

static void an_agreement_is_never_more_than_the_offer(void **state)
{
    struct vfio_user_capabilities agreed;
    assert_int_equal(agree("\0\0\0\0",
                           "{\"capabilities\":{\"max_msg_fds\":99,\"max_data_xfer_size\":"
                           "99999999,\"max_dma_maps\":99999999,\"write_multiple\":true}}",
                           &agreed),
                     0);
    assert_int_equal(agreed.max_msg_fds, 16);
    assert_int_equal(agreed.max_data_xfer_size, 1u << 20);
    assert_int_equal(agreed.max_dma_maps, 65535);
    assert_true(agreed.write_multiple);
    assert_int_equal(agree("\0\0\0\0",
                           "{\"capabilities\":{\"max_msg_fds\":2,\"max_data_xfer_size\":8,"
                           "\"max_dma_maps\":3,\"pgsizes\":65536}}",
                           &agreed),
                     0);
    assert_int_equal(agreed.max_msg_fds, 2);
    assert_int_equal(agreed.max_data_xfer_size, 8);
    assert_int_equal(agreed.max_dma_maps, 3);
    assert_int_equal(agreed.pgsizes, 65536);
    assert_false(agreed.write_multiple);
}

static void an_answer_without_text_has_the_defaults(void **state)
{
    struct vfio_user_capabilities agreed;
    assert_int_equal(agree("\0\0\0\0", NULL, &agreed), 0);
    assert_int_equal(agreed.max_msg_fds, 1);
    assert_int_equal(agreed.max_data_xfer_size, 1u << 20);
    assert_false(agreed.write_multiple);
    assert_int_equal(agree("\0\0\0\0", "{}", &agreed), 0);
}

static void another_version_is_refused(void **state)
{
    struct vfio_user_capabilities agreed;
    assert_int_equal(agree("\1\0\0\0", "{}", &agreed), -EPROTONOSUPPORT);
    assert_int_equal(agree("\0\0\1\0", "{}", &agreed), -EPROTONOSUPPORT); /* was not offered */
}

static void a_version_that_makes_no_sense_is_refused(void **state)
{
    static const char *const texts[] = {
        "{",
        "[]",
        "{\"capabilities\":7}",
        "{\"capabilities\":{\"max_msg_fds\":-1}}",
        "{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
        "{\"capabilities\":{\"write_multiple\":1}}",
        "{\"capabilities\":{\"max_data_xfer_size\":7}}",
        "{\"capabilities\":{\"pgsizes\":0}}",
    };
    struct vfio_user_capabilities agreed;
    struct ob_fault fault = {0};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(agree("\0\0\0\0", texts[i], &agreed), -EPROTO);
    for (size_t len = 0; len < 4; len++)
        assert_int_equal(
            vfio_user_agreement_parse((const uint8_t *)"\0\0\0", len, &offered, &agreed, &fault),
            -EPROTO);
    assert_int_equal(
        vfio_user_agreement_parse((const uint8_t *)"\0\0\0\0{}", 6, &offered, &agreed, &fault),
        -EPROTO); /* no NUL */
}

static int parse_device(uint32_t flags, uint32_t regions, uint32_t irqs,
                        struct client_device *ret_device)
{
    uint8_t buf[VFIO_USER_DEVICE_INFO_LEN];
    struct ob_fault fault = {0};
    const struct vfio_user_device_info info = {16, flags, regions, irqs};
    vfio_user_device_info_put(buf, sizeof(buf), &info);
    for (size_t len = 0; len < sizeof(buf); len++)
        assert_int_equal(vfio_user_device_parse(buf, len, ret_device, &(struct ob_fault){0}),
                         -EPROTO);
    int err = vfio_user_device_parse(buf, sizeof(buf), ret_device, &fault);
    assert_int_equal(fault.code, err);
    return err;
}

static void a_device_must_have_configuration_space(void **state)
{
    struct client_device device;
    assert_int_equal(parse_device(VFIO_DEVICE_FLAGS_PCI, 7, 5, &device), -ENODEV);
    assert_int_equal(parse_device(0, 9, 5, &device), -ENODEV);
    assert_int_equal(parse_device(VFIO_DEVICE_FLAGS_PCI, 8, 0, &device), 0);
    assert_int_equal(device.num_irqs, 0);
    assert_false(device.can_reset);
    assert_int_equal(parse_device(3, UINT32_MAX, UINT32_MAX, &device), 0);
    assert_int_equal(device.num_regions, VFIO_PCI_NUM_REGIONS);
    assert_int_equal(device.num_irqs, VFIO_PCI_NUM_IRQS);
    assert_true(device.can_reset);
}

/* A region's answer, with room for capabilities behind. */
struct answer {
    uint8_t bytes[1024];
    size_t len;
};

static struct answer region_answer(uint32_t flags, uint32_t cap_offset)
{
    struct answer answer = {.len = VFIO_USER_REGION_INFO_LEN};
    const struct vfio_user_region_info info = {.argsz = 32,
                                               .flags = flags,
                                               .index = 2,
                                               .cap_offset = cap_offset,
                                               .size = SIZE,
                                               .offset = 0x10000};
    vfio_user_region_info_put(answer.bytes, VFIO_USER_REGION_INFO_LEN, &info);
    return answer;
}

static void add_capability(struct answer *answer, uint16_t id, uint32_t next)
{
    struct wr wr = wr_init(answer->bytes + answer->len, sizeof(answer->bytes) - answer->len);
    wr_u16(&wr, id);
    wr_u16(&wr, 1);
    wr_u32(&wr, next);
    answer->len += wr.len;
}

static void add_areas(struct answer *answer, uint32_t said, unsigned count, uint64_t offset,
                      uint64_t len)
{
    struct wr wr = wr_init(answer->bytes + answer->len, sizeof(answer->bytes) - answer->len);
    wr_u32(&wr, said);
    wr_u32(&wr, 0);
    for (unsigned i = 0; i < count; i++) {
        wr_u64(&wr, offset);
        wr_u64(&wr, len);
    }
    answer->len += wr.len;
}

/* -1 when it is refused, else how many areas can be mapped. */
static int areas_of(const struct answer *answer, struct client_region *ret_region)
{
    struct ob_fault fault = {0};
    int err = vfio_user_region_parse(answer->bytes, answer->len, 2, ret_region, &fault);
    assert_int_equal(fault.code, err);
    if (err == 0)
        assert_true(ret_region->num_areas <= LIMIT_CLIENT_AREAS);
    return err < 0 ? -1 : (int)ret_region->num_areas;
}

static void a_region_is_mapped_whole_unless_it_says_where(void **state)
{
    struct client_region region;
    struct answer whole = region_answer(MAPPED, 0), none = region_answer(3, 0);
    assert_int_equal(areas_of(&none, &region), 0);
    assert_int_equal(areas_of(&whole, &region), 1);
    assert_int_equal(region.areas[0].len, SIZE);
    assert_int_equal(region.file_offset, 0x10000);
    struct answer sparse = region_answer(CAPS, 32);
    add_capability(&sparse, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
    add_areas(&sparse, 2, 2, 0x1000, 0x1000);
    assert_int_equal(areas_of(&sparse, &region), 2);
    assert_int_equal(region.areas[1].offset, 0x1000);
    struct answer nothing = region_answer(CAPS, 32);
    add_capability(&nothing, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
    add_areas(&nothing, 0, 0, 0, 0);
    assert_int_equal(areas_of(&nothing, &region), 0);
}

static void a_region_with_more_to_say_is_not_mapped(void **state)
{
    struct client_region region;
    struct answer cut = region_answer(MAPPED, 0);
    const uint32_t argsz = CLIENT_REGION_INFO_LEN + 1;
    memcpy(cut.bytes, &argsz, 4);
    assert_int_equal(areas_of(&cut, &region), 0);
}

static void a_region_is_refused_at_every_shorter_length(void **state)
{
    struct client_region region;
    struct answer answer = region_answer(MAPPED, 0);
    while (answer.len > 0) {
        answer.len--;
        assert_int_equal(areas_of(&answer, &region), -1);
    }
    struct answer other = region_answer(MAPPED, 0);
    other.bytes[8] = 3;
    assert_int_equal(areas_of(&other, &region), -1);
}

static void areas_outside_of_the_region_are_refused(void **state)
{
    static const struct {
        uint64_t offset, len;
        int areas;
    } cases[] = {{0, SIZE, 1},
                 {0, SIZE + 1, -1},
                 {SIZE, 0, 0},
                 {SIZE + 1, 0, -1},
                 {1, SIZE, -1},
                 {UINT64_MAX, 2, -1},
                 {SIZE - 1, UINT64_MAX, -1}};
    struct client_region region;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct answer answer = region_answer(CAPS, 32);
        add_capability(&answer, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
        add_areas(&answer, 1, 1, cases[i].offset, cases[i].len);
        assert_int_equal(areas_of(&answer, &region), cases[i].areas);
    }
}

static void areas_are_bounded(void **state)
{
    struct client_region region;
    struct answer answer = region_answer(CAPS, 32);
    add_capability(&answer, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
    add_areas(&answer, UINT32_MAX, LIMIT_CLIENT_AREAS + 5, 0, 0x1000);
    assert_int_equal(areas_of(&answer, &region), LIMIT_CLIENT_AREAS);
}

static void a_sparse_capability_may_be_cut_anywhere(void **state)
{
    struct client_region region;
    struct answer answer = region_answer(CAPS, 32);
    add_capability(&answer, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
    add_areas(&answer, 3, 3, 0, 0x1000);
    const size_t whole = answer.len;
    for (answer.len = 40; answer.len <= whole; answer.len++)
        assert_int_equal(areas_of(&answer, &region),
                         answer.len < 48 ? 0 : (int)((answer.len - 48) / 16));
}

static void a_chain_of_capabilities_goes_forwards(void **state)
{
    struct client_region region;
    struct answer forwards = region_answer(CAPS, 32);
    add_capability(&forwards, 99, 40); /* not known */
    add_capability(&forwards, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0);
    add_areas(&forwards, 1, 1, 0, 0x1000);
    assert_int_equal(areas_of(&forwards, &region), 1);
    struct answer loop = region_answer(CAPS, 32), backwards = region_answer(CAPS, 40);
    add_capability(&loop, 99, 32);
    assert_int_equal(areas_of(&loop, &region), -1);
    add_capability(&backwards, 99, 0);
    add_capability(&backwards, 99, 32);
    assert_int_equal(areas_of(&backwards, &region), -1);
    struct answer beyond = region_answer(CAPS, 32);
    add_capability(&beyond, 99, UINT32_MAX);
    assert_int_equal(areas_of(&beyond, &region), 1); /* as if it said nothing */
}

static void interrupts_are_those_that_were_asked_about(void **state)
{
    uint8_t buf[VFIO_USER_IRQ_INFO_LEN];
    uint32_t count = 0;
    struct ob_fault fault = {0};
    const struct vfio_user_irq_info info = {.argsz = 16, .index = 2, .count = 64};
    vfio_user_irq_info_put(buf, sizeof(buf), &info);
    assert_int_equal(vfio_user_irqs_parse(buf, sizeof(buf), 2, &count, &fault), 0);
    assert_int_equal(count, 64);
    assert_int_equal(vfio_user_irqs_parse(buf, sizeof(buf), 1, &count, &fault), -EPROTO);
    for (size_t len = 0; len < sizeof(buf); len++)
        assert_int_equal(vfio_user_irqs_parse(buf, len, 2, &count, &fault), -EPROTO);
}

/* Three registers: one with an eventfd, one of another type, one with a value to match. */
static size_t eventfds_answer(uint8_t *buf, size_t len, uint32_t last_fd)
{
    static const struct vfio_user_sub_region first = {.offset = 8, .size = 4, .fd_index = 1};
    static const struct vfio_user_sub_region other = {.type = 1, .fd_index = 77};
    const struct vfio_user_sub_region last = {
        .offset = 16, .flags = KVM_IOEVENTFD_FLAG_DATAMATCH, .datamatch = 5, .fd_index = last_fd};
    const struct vfio_user_region_io_fds info = {.argsz = 136, .index = 2, .count = 3};
    uint8_t *at = buf + VFIO_USER_REGION_IO_FDS_LEN;
    vfio_user_region_io_fds_put(buf, VFIO_USER_REGION_IO_FDS_LEN, &info);
    vfio_user_sub_region_put(at, VFIO_USER_SUB_REGION_LEN, &first);
    vfio_user_sub_region_put(at + VFIO_USER_SUB_REGION_LEN, VFIO_USER_SUB_REGION_LEN, &other);
    vfio_user_sub_region_put(at + 2 * (size_t)VFIO_USER_SUB_REGION_LEN, VFIO_USER_SUB_REGION_LEN,
                             &last);
    return VFIO_USER_REGION_IO_FDS_LEN + 3 * (size_t)VFIO_USER_SUB_REGION_LEN;
}

static void eventfds_name_descriptors_that_came(void **state)
{
    uint8_t buf[256];
    struct ob_client_eventfd fds[4];
    struct ob_fault fault = {0};
    unsigned count = 0;
    size_t len = eventfds_answer(buf, sizeof(buf), 0);
    assert_int_equal(vfio_user_eventfds_parse(buf, len, 2, 2, fds, 4, &count, &fault), 0);
    assert_int_equal(count, 2);
    assert_int_equal(fds[0].fd, 1);
    assert_false(fds[0].matches);
    assert_int_equal(fds[1].offset, 16);
    assert_true(fds[1].matches);
    assert_int_equal(fds[1].value, 5);
    assert_int_equal(vfio_user_eventfds_parse(buf, len, 2, 2, fds, 1, &count, &fault), 0);
    assert_int_equal(count, 1);
    assert_int_equal(vfio_user_eventfds_parse(buf, len, 2, 1, fds, 4, &count, &fault), -EPROTO);
    fault.code = 0;
    assert_int_equal(vfio_user_eventfds_parse(buf, len, 3, 2, fds, 4, &count, &fault), -EPROTO);
    eventfds_answer(buf, sizeof(buf), UINT32_MAX);
    assert_int_equal(vfio_user_eventfds_parse(buf, len, 2, 2, fds, 4, &count, &fault), -EPROTO);
}

static void eventfds_may_be_cut_anywhere(void **state)
{
    uint8_t buf[256];
    struct ob_client_eventfd fds[4];
    struct ob_fault fault = {0};
    size_t whole = eventfds_answer(buf, sizeof(buf), 0);
    for (size_t len = 0; len <= whole; len++) {
        unsigned count = 99;
        int err = vfio_user_eventfds_parse(buf, len, 2, 2, fds, 4, &count, &fault);
        assert_int_equal(err, len < 16 ? -EPROTO : 0);
        assert_int_equal(count, len < 16 ? 99 : len < 56 ? 0 : len < whole ? 1 : 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_agreement_is_never_more_than_the_offer),
        TEST(an_answer_without_text_has_the_defaults),
        TEST(another_version_is_refused),
        TEST(a_version_that_makes_no_sense_is_refused),
        TEST(a_device_must_have_configuration_space),
        TEST(a_region_is_mapped_whole_unless_it_says_where),
        TEST(a_region_with_more_to_say_is_not_mapped),
        TEST(a_region_is_refused_at_every_shorter_length),
        TEST(areas_outside_of_the_region_are_refused),
        TEST(areas_are_bounded),
        TEST(a_sparse_capability_may_be_cut_anywhere),
        TEST(a_chain_of_capabilities_goes_forwards),
        TEST(interrupts_are_those_that_were_asked_about),
        TEST(eventfds_name_descriptors_that_came),
        TEST(eventfds_may_be_cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
