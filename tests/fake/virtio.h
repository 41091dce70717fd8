// SPDX-License-Identifier: BSD-3-Clause
/*
 * A virtio device without rings: ob_virtio_new() and the other functions of the public header for a
 * device under test. The test is the driver: it makes chains available and sees them come
 * back. The clock of timers is the test's.
 */
#ifndef OUTBOARD_TESTS_FAKE_VIRTIO_H
#define OUTBOARD_TESTS_FAKE_VIRTIO_H

#include <outboard/timer.h>
#include <outboard/virtio.h>

/* A chain that came back. Its memory is the test's until fake_virtio_free(). */
struct fake_chain {
    struct ob_virtio_chain chain; /* first */
    struct ob_dma_span span;
    struct fake_chain *next;
    size_t written;
    uint8_t *bytes;
};

/* Forgets the device of the test before. */
void fake_virtio_start(void);
void fake_virtio_end(void);

/* Makes a buffer available, and notifies the device. */
void fake_virtio_add_readable(unsigned queue, const void *bytes, size_t len);
void fake_virtio_add_writable(unsigned queue, size_t len);
/* How many the device has not given back: taken by it or not. */
unsigned fake_virtio_outstanding(unsigned queue);
/* The next one that the device has completed, or NULL. To be freed. */
struct fake_chain *fake_virtio_completed(unsigned queue);
void fake_virtio_free(struct fake_chain *chain);

/* Calls notified() for kicked queues, then poll() until it has nothing to do. */
void fake_virtio_poll(void);
/* Calls notified() for one queue alone. */
void fake_virtio_notify(unsigned queue);
void fake_virtio_advance(uint64_t ns);
void fake_virtio_negotiate(uint64_t features);
void fake_virtio_reset(void);
void fake_virtio_pause(bool paused);
void fake_virtio_config(uint8_t *ret_config);

#endif
