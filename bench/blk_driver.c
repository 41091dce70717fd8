// SPDX-License-Identifier: BSD-3-Clause
/* Virtual I/O Device (VIRTIO) 1.2: sections 2.7 and 5.2. The messages are those of wire/vhost_user.h. */
#include "blk_driver.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cursor.h"
#include "os/socket.h"
#include "process.h"
#include "wire/vhost_user.h"

#define ENTRIES      128u /* of the ring; a request is an entry */
#define SECTOR       512u
#define BYTES        (128u << 10) /* of a request, at most */
#define PATIENCE_MS  30000
#define USER         UINT64_C(0x7f0000000000) /* the front end's address of guest address 0 */
#define FEATURE(bit) (UINT64_C(1) << (bit))

/* Where things are in the guest's memory. */
enum {
    DESC_AT = 0x1000,
    AVAIL_AT = 0x2000,
    USED_AT = 0x3000,
    HEADERS_AT = 0x4000,
    STATES_AT = 0x5000,
    TABLES_AT = 0x6000,
    DATA_AT = 0x100000,
};
#define TABLE_LEN  64u /* three descriptors, and room */
#define HEADER_LEN 16u
#define MEMORY_LEN (DATA_AT + (uint64_t)WORKLOAD_DEPTH * BYTES)

static void *at(const struct blk_driver *driver, uint64_t address)
{
    return driver->memory + address;
}

static uint16_t load16(const uint16_t *from)
{
    return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static void store16(uint16_t *to, uint16_t value)
{
    __atomic_store_n(to, value, __ATOMIC_RELEASE);
}

static void barrier(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static struct vring_avail *avail_of(const struct blk_driver *driver)
{
    return at(driver, AVAIL_AT);
}

static struct vring_used *used_of(const struct blk_driver *driver)
{
    return at(driver, USED_AT);
}

/* The used index at which the device is to interrupt, behind the available ring. */
static uint16_t *used_event(const struct blk_driver *driver)
{
    return &avail_of(driver)->ring[ENTRIES];
}

/* The available index at which the device wants a kick, behind the used ring. */
static const uint16_t *avail_event(const struct blk_driver *driver)
{
    return (const uint16_t *)(const void *)&used_of(driver)->ring[ENTRIES];
}

static void send_message(const struct blk_driver *driver, uint32_t request, const void *payload,
                         uint32_t len, int fd)
{
    uint8_t bytes[VHOST_USER_FRAME_LEN];
    const struct vhost_user_header header = {
        .request = request, .flags = VHOST_USER_VERSION, .size = len};
    vhost_user_header_put(bytes, sizeof(bytes), &header);
    if (len > 0)
        memcpy(bytes + VHOST_USER_HEADER_LEN, payload, len);
    if (socket_send(driver->fd, bytes, VHOST_USER_HEADER_LEN + len, fd) !=
        VHOST_USER_HEADER_LEN + (ssize_t)len)
        bench_die("the back end takes no %s", vhost_user_request_name(request));
}

static uint64_t ask(const struct blk_driver *driver, uint32_t request)
{
    uint8_t bytes[VHOST_USER_HEADER_LEN + 8];
    send_message(driver, request, NULL, 0, -1);
    if (recv(driver->fd, bytes, sizeof(bytes), MSG_WAITALL) != (ssize_t)sizeof(bytes))
        bench_die("the back end does not answer %s", vhost_user_request_name(request));
    struct rd rd = rd_init(bytes + VHOST_USER_HEADER_LEN, 8);
    return rd_u64(&rd);
}

static void tell(const struct blk_driver *driver, uint32_t request, uint64_t value, int fd)
{
    uint8_t payload[8];
    struct wr wr = wr_init(payload, sizeof(payload));
    wr_u64(&wr, value);
    send_message(driver, request, payload, sizeof(payload), fd);
}

static void tell_state(const struct blk_driver *driver, uint32_t request, uint32_t num)
{
    uint8_t payload[VHOST_USER_VRING_STATE_LEN];
    vhost_user_vring_state_put(payload, sizeof(payload),
                               &(struct vhost_user_vring_state){.num = num});
    send_message(driver, request, payload, sizeof(payload), -1);
}

static void negotiate(const struct blk_driver *driver)
{
    const uint64_t wanted = FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
                            FEATURE(VIRTIO_RING_F_EVENT_IDX) | FEATURE(VIRTIO_BLK_F_FLUSH) |
                            FEATURE(VHOST_USER_F_PROTOCOL_FEATURES);
    if (~ask(driver, VHOST_USER_GET_FEATURES) & wanted)
        bench_die("the back end lacks a feature of those that the bench needs");
    const uint64_t offered = ask(driver, VHOST_USER_GET_PROTOCOL_FEATURES);
    tell(driver, VHOST_USER_SET_PROTOCOL_FEATURES, offered & FEATURE(VHOST_USER_F_CONFIG), -1);
    send_message(driver, VHOST_USER_SET_OWNER, NULL, 0, -1);
    tell(driver, VHOST_USER_SET_FEATURES, wanted, -1);
}

static void share_memory(const struct blk_driver *driver)
{
    uint8_t payload[VHOST_USER_TABLE_LEN + VHOST_USER_REGION_LEN] = {1}; /* region */
    const struct vhost_user_region region = {.size = MEMORY_LEN, .user_address = USER};
    vhost_user_region_put(payload + VHOST_USER_TABLE_LEN, VHOST_USER_REGION_LEN, &region);
    send_message(driver, VHOST_USER_SET_MEM_TABLE, payload, sizeof(payload), driver->memory_fd);
}

static void start_ring(const struct blk_driver *driver)
{
    uint8_t payload[VHOST_USER_VRING_ADDR_LEN];
    const struct vhost_user_vring_addr addr = {
        .desc = USER + DESC_AT, .avail = USER + AVAIL_AT, .used = USER + USED_AT};
    vhost_user_vring_addr_put(payload, sizeof(payload), &addr);
    tell_state(driver, VHOST_USER_SET_VRING_NUM, ENTRIES);
    tell_state(driver, VHOST_USER_SET_VRING_BASE, 0);
    send_message(driver, VHOST_USER_SET_VRING_ADDR, payload, sizeof(payload), -1);
    tell(driver, VHOST_USER_SET_VRING_CALL, 0, driver->call_fd);
    tell(driver, VHOST_USER_SET_VRING_KICK, 0, driver->kick_fd);
    tell_state(driver, VHOST_USER_SET_VRING_ENABLE, 1);
}

/* The entries are always the same: an indirect table of header, data and status. */
static void make_entries(const struct blk_driver *driver)
{
    struct vring_desc *entries = at(driver, DESC_AT);
    for (unsigned slot = 0; slot < WORKLOAD_DEPTH; slot++)
        entries[slot] = (struct vring_desc){.addr = TABLES_AT + slot * TABLE_LEN,
                                            .len = 3 * sizeof(struct vring_desc),
                                            .flags = VRING_DESC_F_INDIRECT};
}

static void make_memory(struct blk_driver *driver)
{
    driver->memory_fd = memfd_create("bench-guest", MFD_CLOEXEC);
    if (driver->memory_fd < 0 || ftruncate(driver->memory_fd, (off_t)MEMORY_LEN) < 0)
        bench_die("no memory to share: %s", strerror(errno));
    driver->memory = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                          driver->memory_fd, 0);
    if (driver->memory == MAP_FAILED)
        bench_die("can't map the memory: %s", strerror(errno));
    for (uint64_t data = DATA_AT; data < MEMORY_LEN;
         data += 256) /* no zeroes, which a disk may not store */
        if (getrandom(at(driver, data), 256, 0) != 256)
            bench_die("no random bytes");
    make_entries(driver);
}

void blk_driver_start(struct blk_driver *driver, int fd, bool polls)
{
    *driver = (struct blk_driver){.fd = fd,
                                  .kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                  .call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                  .polls = polls};
    make_memory(driver);
    negotiate(driver);
    share_memory(driver);
    start_ring(driver);
}

void blk_driver_stop(struct blk_driver *driver)
{
    close(driver->fd);
    munmap(driver->memory, MEMORY_LEN);
    close(driver->memory_fd);
    close(driver->kick_fd);
    close(driver->call_fd);
}

static void put(void *context, bool write, unsigned slot, uint64_t offset, uint32_t len)
{
    struct blk_driver *driver = context;
    struct virtio_blk_outhdr *header = at(driver, HEADERS_AT + slot * HEADER_LEN);
    struct vring_desc *table = at(driver, TABLES_AT + slot * TABLE_LEN);
    *header = (struct virtio_blk_outhdr){.type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
                                         .sector = offset / SECTOR};
    table[0] = (struct vring_desc){.addr = HEADERS_AT + slot * HEADER_LEN,
                                   .len = HEADER_LEN,
                                   .flags = VRING_DESC_F_NEXT,
                                   .next = 1};
    table[1] = (struct vring_desc){
        .addr = DATA_AT + (uint64_t)slot * BYTES,
        .len = len,
        .flags = (uint16_t)(VRING_DESC_F_NEXT | (write ? 0 : VRING_DESC_F_WRITE)),
        .next = 2};
    table[2] = (struct vring_desc){.addr = STATES_AT + slot, .len = 1, .flags = VRING_DESC_F_WRITE};
    *(uint8_t *)at(driver, STATES_AT + slot) = 0xff;
    avail_of(driver)->ring[driver->avail++ % ENTRIES] = (uint16_t)slot;
}

static void ring(void *context)
{
    struct blk_driver *driver = context;
    const uint16_t before = driver->told_avail;
    store16(&avail_of(driver)->idx, driver->avail);
    driver->told_avail = driver->avail;
    barrier(); /* between the index and the device's wish for kicks */
    if (vring_need_event(load16(avail_event(driver)), driver->avail, before))
        eventfd_write(driver->kick_fd, 1);
}

static unsigned take_some(struct blk_driver *driver, unsigned *ret_slots, unsigned max)
{
    const struct vring_used *used = used_of(driver);
    const uint16_t shown = load16(&used->idx);
    unsigned count = 0;
    while (count < max && driver->used != shown) {
        const unsigned slot = used->ring[driver->used++ % ENTRIES].id;
        if (slot >= WORKLOAD_DEPTH || *(uint8_t *)at(driver, STATES_AT + slot) != VIRTIO_BLK_S_OK)
            bench_die("a request ended with an error");
        ret_slots[count++] = slot;
    }
    return count;
}

/* Says that it wants the next interrupt, and blocks unless something has come meanwhile. */
static void block(const struct blk_driver *driver)
{
    struct pollfd call = {.fd = driver->call_fd, .events = POLLIN};
    eventfd_t count;
    store16(used_event(driver), driver->used);
    barrier(); /* between the wish and another look at the index */
    if (load16(&used_of(driver)->idx) != driver->used)
        return;
    if (poll(&call, 1, PATIENCE_MS) != 1)
        bench_die("no interrupt came");
    eventfd_read(driver->call_fd, &count);
}

static unsigned wait_some(void *context, unsigned *ret_slots, unsigned max)
{
    struct blk_driver *driver = context;
    unsigned count = take_some(driver, ret_slots, max);
    while (count == 0) {
        if (!driver->polls)
            block(driver);
        count = take_some(driver, ret_slots, max);
    }
    if (driver->polls)
        store16(used_event(driver), (uint16_t)(driver->used + 0x8000)); /* far away */
    return count;
}

struct workload_disk blk_driver_disk(struct blk_driver *driver)
{
    return (struct workload_disk){
        .context = driver, .polls = driver->polls, .put = put, .ring = ring, .wait = wait_some};
}
