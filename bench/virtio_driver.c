// SPDX-License-Identifier: BSD-3-Clause
/* Virtual I/O Device (VIRTIO) 1.2: sections 2.7, 3.1.1 and 4.1.4. */
#include "virtio_driver.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <outboard/client_irq.h>
#include <outboard/client_memory.h>

#include "process.h"

#define BARS_AT       0xfe000000u
#define PATIENCE_MS   30000
#define PAGE          4096u
#define CAPABILITIES  0x34u
#define CAP_VENDOR    0x09u
#define VECTOR_CONFIG 0u
#define VECTOR_RINGS  1u

static void check(int err, const char *what)
{
    if (err < 0)
        bench_die("the driver can't %s: %s", what, strerror(-err));
}

static uint16_t load16(const uint16_t *from)
{
    return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static uint32_t config_read(const struct virtio_driver *driver, uint32_t offset, unsigned size)
{
    uint32_t value = 0;
    check(ob_client_config_read(driver->client, offset, size, &value), "read the configuration");
    return value;
}

static void set(const struct virtio_driver *driver, unsigned offset, unsigned size, uint64_t value)
{
    check(ob_client_bar_write(driver->client, driver->bar, driver->common + offset, size, value),
          "write a register");
}

static uint64_t get(const struct virtio_driver *driver, unsigned offset, unsigned size)
{
    uint64_t value = 0;
    check(ob_client_bar_read(driver->client, driver->bar, driver->common + offset, size, &value),
          "read a register");
    return value;
}

/* Section 4.1.4: the structures are all in one BAR here. */
static void find_structures(struct virtio_driver *driver)
{
    for (uint32_t at = config_read(driver, CAPABILITIES, 1); at;
         at = config_read(driver, at + 1, 1)) {
        if (config_read(driver, at, 1) != CAP_VENDOR)
            continue;
        const uint32_t kind = config_read(driver, at + 3, 1), bar = config_read(driver, at + 4, 1);
        const uint32_t offset = config_read(driver, at + 8, 4);
        if (kind == VIRTIO_PCI_CAP_COMMON_CFG) {
            driver->bar = bar;
            driver->common = offset;
        } else if (kind == VIRTIO_PCI_CAP_NOTIFY_CFG) {
            driver->notify = offset;
            driver->notify_multiplier = config_read(driver, at + 16, 4);
            if (bar != driver->bar)
                bench_die("the device has its doorbells in another BAR");
        }
    }
}

static void make_memory(struct virtio_driver *driver)
{
    driver->memory_fd = memfd_create("bench-guest", MFD_CLOEXEC);
    if (driver->memory_fd < 0 || ftruncate(driver->memory_fd, (off_t)driver->memory_len) < 0)
        bench_die("no memory to share: %s", strerror(errno));
    driver->memory = mmap(NULL, driver->memory_len, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_POPULATE, driver->memory_fd, 0);
    if (driver->memory == MAP_FAILED)
        bench_die("can't map the memory: %s", strerror(errno));
}

static void negotiate(const struct virtio_driver *driver, uint64_t features)
{
    set(driver, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    while (get(driver, VIRTIO_PCI_COMMON_STATUS, 1) != 0) {}
    set(driver, VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (unsigned half = 0; half < 2; half++) {
        set(driver, VIRTIO_PCI_COMMON_GFSELECT, 4, half);
        set(driver, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> (32 * half)));
    }
    const unsigned agreed =
        VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
    set(driver, VIRTIO_PCI_COMMON_STATUS, 1, agreed);
    if (get(driver, VIRTIO_PCI_COMMON_STATUS, 1) != agreed)
        bench_die("the device refuses the features 0x%llx", (unsigned long long)features);
    set(driver, VIRTIO_PCI_COMMON_MSIX, 2, VECTOR_CONFIG);
}

void virtio_driver_start(struct virtio_driver *driver, int fd, uint64_t features,
                         uint64_t memory_len)
{
    struct ob_client_info info;
    const struct ob_client_options client = {.size = sizeof(client),
                                             .wire = "vfio-user",
                                             .timeout_ms = PATIENCE_MS,
                                             .posted_writes = true};
    *driver = (struct virtio_driver){.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                     .memory_len = memory_len,
                                     .memory_used = PAGE};
    make_memory(driver);
    const struct ob_client_region memory = {.len = memory_len, .fd = driver->memory_fd};
    const int vectors[] = {driver->call_fd, driver->call_fd};
    check(ob_client_new(fd, &client, &driver->client, NULL), "connect");
    check(ob_client_publish_memory(driver->client, &memory, 1, NULL), "publish memory");
    check(ob_client_probe(driver->client, &info, NULL), "probe the device");
    check(ob_client_set_vectors(driver->client, OB_CLIENT_MSIX, 0, 2, vectors), "have interrupts");
    check(ob_client_place_bars(driver->client, BARS_AT, 0x1000), "place the BARs");
    find_structures(driver);
    negotiate(driver, features);
}

static uint64_t take_memory(struct virtio_driver *driver, uint64_t len)
{
    const uint64_t at = driver->memory_used;
    driver->memory_used += (len + PAGE - 1) / PAGE * PAGE;
    if (driver->memory_used > driver->memory_len)
        bench_die("the bench needs more memory for its guest");
    return at;
}

static struct vring vring_of(const struct virtio_driver *driver, const struct virtio_ring *ring)
{
    struct vring vring;
    vring_init(&vring, ring->size, driver->memory + ring->at, 4);
    return vring;
}

static void set_address(const struct virtio_driver *driver, unsigned offset, const void *where)
{
    const uint64_t at = (uint64_t)((const uint8_t *)where - driver->memory);
    set(driver, offset, 4, (uint32_t)at);
    set(driver, offset + 4, 4, at >> 32);
}

void virtio_driver_add(struct virtio_driver *driver, struct virtio_ring *ring, unsigned number,
                       unsigned size, uint32_t buffer_len)
{
    *ring = (struct virtio_ring){.number = number, .size = size, .buffer_len = buffer_len};
    if (size > sizeof(ring->free) / sizeof(ring->free[0]))
        bench_die("a ring of %u buffers is too large for the bench", size);
    ring->at = take_memory(driver, vring_size(size, 4));
    ring->buffers = take_memory(driver, (uint64_t)size * buffer_len);
    for (ring->free_count = 0; ring->free_count < size; ring->free_count++)
        ring->free[ring->free_count] = (uint16_t)ring->free_count;
    const struct vring vring = vring_of(driver, ring);
    set(driver, VIRTIO_PCI_COMMON_Q_SELECT, 2, number);
    set(driver, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
    set(driver, VIRTIO_PCI_COMMON_Q_MSIX, 2, VECTOR_RINGS);
    ring->doorbell =
        driver->notify + get(driver, VIRTIO_PCI_COMMON_Q_NOFF, 2) * driver->notify_multiplier;
    set_address(driver, VIRTIO_PCI_COMMON_Q_DESCLO, vring.desc);
    set_address(driver, VIRTIO_PCI_COMMON_Q_AVAILLO, vring.avail);
    set_address(driver, VIRTIO_PCI_COMMON_Q_USEDLO, vring.used);
    set(driver, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void virtio_driver_go(struct virtio_driver *driver)
{
    set(driver, VIRTIO_PCI_COMMON_STATUS, 1,
        VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
            VIRTIO_CONFIG_S_DRIVER_OK);
}

void virtio_driver_stop(struct virtio_driver *driver)
{
    ob_client_free(driver->client);
    munmap(driver->memory, driver->memory_len);
    close(driver->memory_fd);
    close(driver->call_fd);
}

uint8_t *virtio_ring_buffer(const struct virtio_driver *driver, const struct virtio_ring *ring,
                            unsigned buffer)
{
    return driver->memory + ring->buffers + (uint64_t)buffer * ring->buffer_len;
}

void virtio_ring_put(struct virtio_driver *driver, struct virtio_ring *ring, unsigned buffer,
                     uint32_t len, bool device_writes)
{
    const struct vring vring = vring_of(driver, ring);
    vring.desc[buffer] =
        (struct vring_desc){.addr = ring->buffers + (uint64_t)buffer * ring->buffer_len,
                            .len = len,
                            .flags = device_writes ? VRING_DESC_F_WRITE : 0};
    vring.avail->ring[ring->avail++ % ring->size] = (uint16_t)buffer;
    __atomic_store_n(&vring.avail->idx, ring->avail, __ATOMIC_RELEASE);
}

void virtio_ring_kick(struct virtio_driver *driver, struct virtio_ring *ring)
{
    const struct vring vring = vring_of(driver, ring);
    if (ring->told_avail == ring->avail)
        return;
    ring->told_avail = ring->avail;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* between the index and the device's wish for kicks */
    if (!(load16(&vring.used->flags) & VRING_USED_F_NO_NOTIFY))
        check(ob_client_bar_write(driver->client, driver->bar, ring->doorbell, 2, ring->number),
              "ring a doorbell");
}

bool virtio_ring_take(const struct virtio_driver *driver, struct virtio_ring *ring,
                      unsigned *ret_buffer, uint32_t *ret_len)
{
    const struct vring vring = vring_of(driver, ring);
    if (load16(&vring.used->idx) == ring->used)
        return false;
    const struct vring_used_elem *element = &vring.used->ring[ring->used++ % ring->size];
    if (element->id >= ring->size)
        bench_die("queue %u: the device used buffer %u", ring->number, element->id);
    *ret_buffer = element->id;
    *ret_len = element->len;
    return true;
}

void virtio_driver_wait(const struct virtio_driver *driver)
{
    struct pollfd call = {.fd = driver->call_fd, .events = POLLIN};
    eventfd_t count;
    if (poll(&call, 1, PATIENCE_MS) != 1)
        bench_die("no interrupt came");
    eventfd_read(driver->call_fd, &count);
}
