// SPDX-License-Identifier: BSD-3-Clause
/* The PCI channel, on folders that look like sysfs. tests/guest/test_pci.py has the real one. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <outboard/backdoor.h>

#include "channel.h"

/* A device; what is 0 is as a good backdoor with one page has it. */
struct fake {
    const char *device_id; /* NULL: 0x10f0 */
    const char *vendor;
    uint64_t size; /* what the size register says */
    off_t bar_len[2];
    const char *driver;
    bool decoding_off;
    const char *missing; /* a file that isn't there */
};

static char devices[64];

static void write_file(const char *folder, const char *name, const void *content, size_t len,
                       off_t file_len)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), len);
    assert_int_equal(ftruncate(fd, file_len), 0);
    close(fd);
}

static void add(const char *address, struct fake fake)
{
    char folder[128];
    snprintf(folder, sizeof(folder), "%s/%s", devices, address);
    assert_int_equal(mkdir(folder, 0700), 0);
    const char *vendor = fake.vendor ? fake.vendor : "0x1af4\n";
    uint64_t size = fake.size ? fake.size : 4096;
    const uint8_t config[64] = {[PCI_COMMAND] = fake.decoding_off ? 0 : PCI_COMMAND_MEMORY};
    write_file(folder, "vendor", vendor, strlen(vendor), 7);
    write_file(folder, "device", fake.device_id ? fake.device_id : "0x10f0\n", 7, 7);
    write_file(folder, "config", config, sizeof(config), 64);
    write_file(folder, "enable", "0\n", 2, 2);
    write_file(folder, "resource0", &size, sizeof(size), fake.bar_len[0] ? fake.bar_len[0] : 4096);
    write_file(folder, "resource1", "", 0, fake.bar_len[1] ? fake.bar_len[1] : 4096);
    char path[256];
    snprintf(path, sizeof(path), "%s/driver", folder);
    if (fake.driver)
        assert_int_equal(symlink(fake.driver, path), 0);
    snprintf(path, sizeof(path), "%s/%s", folder, fake.missing ? fake.missing : "");
    if (fake.missing)
        assert_int_equal(unlink(path), 0);
}

static int make_devices(void **state)
{
    strcpy(devices, "/tmp/outboard-pci-test-XXXXXX");
    return mkdtemp(devices) ? descriptors_remember(state) : -1;
}

static int remove_devices(void **state)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", devices);
    return system(command) == 0 ? descriptors_compare(state) : -1; // NOLINT(cert-env33-c)
}

static struct ob_backdoor *open_good(void)
{
    struct ob_backdoor *backdoor = NULL;
    struct ob_fault fault = {0};
    int err = channel_open(pci_channel_open, devices, &backdoor, &fault);
    assert_string_equal(fault.text, "");
    assert_int_equal(err, 0);
    return backdoor;
}

static void refuses(int code, const char *text)
{
    struct ob_backdoor *backdoor = NULL;
    struct ob_fault fault = {0};
    assert_int_equal(channel_open(pci_channel_open, devices, &backdoor, &fault), code);
    assert_null(backdoor);
    assert_int_equal(fault.code, code);
    if (!strstr(fault.text, text))
        fail_msg("'%s' is not in '%s'", text, fault.text);
    assert_true(strlen(fault.text) < sizeof(fault.text) - 1); /* nothing was cut off */
}

static void takes_the_lowest_address(void **state)
{
    add("0000:00:05.0", (struct fake){.size = 8});
    add("0000:00:04.0", (struct fake){.size = 16});
    add("0000:00:03.0", (struct fake){.vendor = "0x8086\n"});
    struct ob_backdoor *backdoor = open_good();
    assert_string_equal(ob_backdoor_name(backdoor), "0000:00:04.0");
    assert_int_equal(ob_backdoor_size(backdoor), 16);
    ob_backdoor_close(backdoor);
}

static void command_goes_to_the_first_eight_bytes(void **state)
{
    add("0000:00:04.0", (struct fake){0});
    struct ob_backdoor *backdoor = open_good();
    const uint64_t expected[2] = {UINT64_C(0x1122334455667788), 0};
    assert_int_equal(ob_backdoor_call(backdoor, expected[0], NULL), 0);
    assert_memory_equal((const void *)backdoor->registers, expected, sizeof(expected));
    ob_backdoor_close(backdoor);
}

/* Every alignment of either end. */
static void copies_any_range_and_no_byte_more(void **state)
{
    add("0000:00:04.0", (struct fake){0});
    struct ob_backdoor *backdoor = open_good();
    volatile uint8_t *data = ob_backdoor_data(backdoor);
    uint8_t pattern[40], back[40];
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i + 1);
    for (size_t offset = 0; offset < 17; offset++) {
        for (size_t len = 0; len <= sizeof(pattern); len++) {
            memset((void *)data, 0xee, 64);
            memset(back, 0xdd, sizeof(back));
            assert_int_equal(ob_backdoor_write(backdoor, offset, pattern, len), 0);
            assert_int_equal(ob_backdoor_read(backdoor, offset, back, len), 0);
            assert_memory_equal(back, pattern, len);
            assert_true(len == sizeof(back) || back[len] == 0xdd);
            assert_true(offset == 0 || data[offset - 1] == 0xee);
            assert_int_equal(data[offset + len], 0xee);
        }
    }
    ob_backdoor_close(backdoor);
}

static void refuses_what_lies_beyond_the_data(void **state)
{
    add("0000:00:04.0", (struct fake){.size = 4088});
    struct ob_backdoor *backdoor = open_good();
    static const struct {
        size_t offset, len;
    } beyond[] = {{4088, 1}, {4089, 0}, {0, 4089}, {1, 4088}, {SIZE_MAX, 1}, {8, SIZE_MAX}};
    uint8_t buf[8] = {0};
    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        assert_int_equal(ob_backdoor_read(backdoor, beyond[i].offset, buf, beyond[i].len), -EINVAL);
        assert_int_equal(ob_backdoor_write(backdoor, beyond[i].offset, buf, beyond[i].len),
                         -EINVAL);
    }
    assert_int_equal(ob_backdoor_read(backdoor, 4087, buf, 1), 0);
    assert_int_equal(ob_backdoor_read(backdoor, 4088, buf, 0), 0);
    ob_backdoor_close(backdoor);
}

static void check_tells_a_dead_device(void **state)
{
    add("0000:00:04.0", (struct fake){0});
    struct ob_backdoor *backdoor = open_good();
    struct ob_fault fault = {0};
    assert_int_equal(ob_backdoor_check(backdoor, &fault), 0);
    memset((void *)backdoor->registers, 0xff, 8);
    assert_int_equal(ob_backdoor_check(backdoor, &fault), -ENODEV);
    assert_non_null(strstr(fault.text, "its process on the host has ended"));
    assert_int_equal(ob_backdoor_size(backdoor), 4096);
    ob_backdoor_close(backdoor);
}

static void takes_the_ids_of_the_environment(void **state)
{
    add("0000:00:03.0", (struct fake){.size = 8});
    add("0000:00:04.0", (struct fake){.size = 16, .device_id = "0x10f9\n"});
    assert_int_equal(setenv("OUTBOARD_BACKDOOR_PCI_ID", "1AF4:10f9", 1), 0);
    struct ob_backdoor *backdoor = open_good();
    assert_string_equal(ob_backdoor_name(backdoor), "0000:00:04.0");
    ob_backdoor_close(backdoor);
    setenv("OUTBOARD_BACKDOOR_PCI_ID", "8086:1", 1);
    refuses(-ENODEV, "found no PCI device 8086:0001");
    setenv("OUTBOARD_BACKDOOR_PCI_ID", "", 1);
    backdoor = open_good();
    assert_string_equal(ob_backdoor_name(backdoor), "0000:00:03.0");
    ob_backdoor_close(backdoor);
    unsetenv("OUTBOARD_BACKDOOR_PCI_ID");
}

static void refuses_ids_that_are_none(void **state)
{
    static const char *const bad[] = {":",        "1af4",       "1af4:",      ":10f0", "1af4:10f0 ",
                                      "01af4:1",  " 1af4:10f0", "1af4:010f0", "-1:1",  "1af4:10g0",
                                      "1af4:1:1", "0x1:0x1",    "1af4:+1"};
    add("0000:00:04.0", (struct fake){0});
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setenv("OUTBOARD_BACKDOOR_PCI_ID", bad[i], 1);
        refuses(-EINVAL, "OUTBOARD_BACKDOOR_PCI_ID: got '");
    }
    unsetenv("OUTBOARD_BACKDOOR_PCI_ID");
}

static void refuses_without_a_device(void **state)
{
    refuses(-ENODEV, "found no PCI device 1af4:10f0");
    add("0000:00:03.0", (struct fake){.vendor = "0x8086\n"});
    add("0000:00:04.0", (struct fake){.missing = "vendor"});
    refuses(-ENODEV, "found no PCI device 1af4:10f0");
}

static void refuses_without_sysfs(void **state)
{
    struct ob_backdoor *backdoor;
    assert_int_equal(channel_open(pci_channel_open, "/nowhere", &backdoor, NULL), -ENODEV);
}

static void refuses_a_device_with_a_driver(void **state)
{
    add("0000:00:04.0", (struct fake){.driver = "../../bus/pci/drivers/pci-stub"});
    refuses(-EBUSY, "the driver pci-stub uses the backdoor 0000:00:04.0; unbind it: "
                    "echo 0000:00:04.0 >/sys/bus/pci/devices/0000:00:04.0/driver/unbind");
}

static void refuses_a_device_that_stays_off(void **state)
{
    add("0000:00:04.0", (struct fake){.decoding_off = true});
    refuses(-ENXIO, "try: setpci -s 0000:00:04.0 COMMAND=2:2");
}

static void refuses_a_device_without_bars(void **state)
{
    add("0000:00:04.0", (struct fake){.missing = "resource1"});
    refuses(-ENOENT, "can't open resource1 of the backdoor 0000:00:04.0: No such file");
}

static void refuses_impossible_bars(void **state)
{
    static const off_t lens[] = {4, 4095, 256 * 4096 + 1, (off_t)1 << 40};
    for (unsigned bar = 0; bar < 2; bar++) {
        for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
            struct fake fake = {0};
            fake.bar_len[bar] = lens[i];
            add("0000:00:04.0", fake);
            refuses(-EPROTO, "which no backdoor has");
            assert_int_equal(remove_devices(state), 0);
            assert_int_equal(mkdir(devices, 0700), 0);
        }
    }
}

static void refuses_impossible_sizes(void **state)
{
    static const uint64_t sizes[] = {1, 4095, 4097, 4104, UINT64_C(1) << 32, UINT64_MAX - 1};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        add("0000:00:04.0", (struct fake){.size = sizes[i]});
        refuses(-EPROTO, "replace its process on the host, which is faulty");
        assert_int_equal(remove_devices(state), 0);
        assert_int_equal(mkdir(devices, 0700), 0);
    }
    add("0000:00:04.0", (struct fake){.missing = "resource0"});
    char folder[128];
    snprintf(folder, sizeof(folder), "%s/0000:00:04.0", devices);
    write_file(folder, "resource0", "", 0, 4096); /* a size of 0, as the first version said */
    refuses(-EPROTO, "a data channel of 0 bytes");
    add("0000:00:03.0", (struct fake){.size = UINT64_MAX});
    refuses(-ENODEV, "its process on the host has ended");
}

#define FOLDER_TEST(function)                                                                      \
    cmocka_unit_test_setup_teardown(function, make_devices, remove_devices)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(takes_the_lowest_address),
        FOLDER_TEST(command_goes_to_the_first_eight_bytes),
        FOLDER_TEST(copies_any_range_and_no_byte_more),
        FOLDER_TEST(refuses_what_lies_beyond_the_data),
        FOLDER_TEST(check_tells_a_dead_device),
        FOLDER_TEST(takes_the_ids_of_the_environment),
        FOLDER_TEST(refuses_ids_that_are_none),
        FOLDER_TEST(refuses_without_a_device),
        FOLDER_TEST(refuses_without_sysfs),
        FOLDER_TEST(refuses_a_device_with_a_driver),
        FOLDER_TEST(refuses_a_device_that_stays_off),
        FOLDER_TEST(refuses_a_device_without_bars),
        FOLDER_TEST(refuses_impossible_bars),
        FOLDER_TEST(refuses_impossible_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
