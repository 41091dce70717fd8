// SPDX-License-Identifier: BSD-3-Clause
/*
 * A small VMM that drives an LSI 53C895A behind a socket: lsi FD.
 *
 * It publishes memory, places the BARs, and has the chip run a SCRIPTS program that lies in that
 * memory: a Memory Move, so that the chip reads and writes our memory, then an interrupt, which
 * comes through our eventfd. The guest's end of interrupt, given while the chip still holds its
 * level, must bring it again; given after, must not.
 *
 * Source: LSI53C895A PCI to Ultra2 SCSI Controller, technical manual, chapters 4 (registers) and 5
 * (SCRIPTS instruction set).
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <outboard/client.h>
#include <outboard/client_irq.h>
#include <outboard/client_memory.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "lsi: line %d: not so: %s\n", __LINE__, #condition);                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum {
    PORT_BAR = 0,
    REGISTER_BAR = 1,
    SCRIPT_RAM_BAR = 2,
};

enum {
    DSTAT = 0x0c, /* reading it ends the interrupt */
    ISTAT0 = 0x14,
    DSP = 0x2c, /* writing its last byte starts SCRIPTS there */
    DSPS = 0x30,
    DIEN = 0x39,
    DSTAT_SIR = 0x04, /* a SCRIPTS interrupt instruction was executed */
    ISTAT0_DIP = 0x01,
};

#define MEMORY_LEN   (1u << 20)
#define MEMORY_AT    0x100000u /* guest address */
#define SCRIPT_AT    0x1000u   /* offsets into the memory */
#define SOURCE_AT    0x2000u
#define TARGET_AT    0x10ff0u /* so that the target crosses what was published as two regions */
#define LEN          5000u
#define INTERRUPT_ID 0xb0a7d00du

#define MEMORY_MOVE         0xc0000000u /* with the count in the low 24 bits */
#define INTERRUPT_IF_ALWAYS 0x98080000u

struct vmm {
    struct ob_client *client;
    uint8_t *memory;
    unsigned interrupts;
};

static void on_interrupt(void *argument)
{
    struct vmm *vmm = argument;
    vmm->interrupts++;
}

static void publish(struct vmm *vmm)
{
    int fd = memfd_create("ram", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, MEMORY_LEN) == 0);
    vmm->memory = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(vmm->memory != MAP_FAILED);
    const struct ob_client_region regions[] = {
        {.gpa = MEMORY_AT + 0x11000, .len = MEMORY_LEN - 0x11000, .offset = 0x11000, .fd = fd},
        {.gpa = MEMORY_AT, .len = 0x11000, .offset = 0, .fd = fd},
    };
    CHECK(ob_client_publish_memory(vmm->client, regions, 2, NULL) == 0);
    close(fd);
}

static void probe(struct vmm *vmm)
{
    struct ob_client_info info;
    struct ob_fault fault = {0};
    if (ob_client_probe(vmm->client, &info, &fault) < 0)
        fprintf(stderr, "lsi: %s\n", fault.text);
    CHECK(fault.code == 0);
    CHECK(info.vendor_id == 0x1000 && info.device_id == 0x0012);
    CHECK(info.class_code == 0x010000 && info.intx && !info.seventh_region);
    CHECK(info.bars[PORT_BAR].kind == OB_BAR_IO && info.bars[PORT_BAR].size == 256);
    CHECK(info.bars[REGISTER_BAR].kind == OB_BAR_MEM32);
    CHECK(info.bars[REGISTER_BAR].size == 1024);
    CHECK(info.bars[SCRIPT_RAM_BAR].size == 8192);
    CHECK(info.bars[3].kind == OB_BAR_NONE);
    CHECK(ob_client_place_bars(vmm->client, 0xfe000000, 0xc000) == 0);
}

static uint32_t read_register(struct vmm *vmm, unsigned offset, unsigned size)
{
    uint64_t value;
    CHECK(ob_client_bar_read(vmm->client, REGISTER_BAR, offset, size, &value) == 0);
    return (uint32_t)value;
}

static void write_register(struct vmm *vmm, unsigned offset, unsigned size, uint32_t value)
{
    CHECK(ob_client_bar_write(vmm->client, REGISTER_BAR, offset, size, value) == 0);
}

/* Waits for the next interrupt. */
static void wait_for_interrupt(struct vmm *vmm)
{
    unsigned before = vmm->interrupts;
    struct pollfd waiting = {.fd = ob_client_fd(vmm->client), .events = POLLIN};
    while (vmm->interrupts == before) {
        CHECK(poll(&waiting, 1, 10000) == 1);
        ob_client_dispatch(vmm->client);
        CHECK(ob_client_state(vmm->client) == OB_CLIENT_ALIVE);
    }
    CHECK(vmm->interrupts == before + 1);
}

/* Several accesses long, no interrupt comes. */
static void expect_no_interrupt(struct vmm *vmm)
{
    unsigned before = vmm->interrupts;
    for (int i = 0; i < 10; i++) {
        read_register(vmm, DSP, 4);
        ob_client_dispatch(vmm->client);
    }
    CHECK(vmm->interrupts == before);
}

static void write_script(struct vmm *vmm)
{
    const uint32_t script[] = {
        MEMORY_MOVE | LEN,   MEMORY_AT + SOURCE_AT, MEMORY_AT + TARGET_AT,
        INTERRUPT_IF_ALWAYS, INTERRUPT_ID,
    };
    memcpy(vmm->memory + SCRIPT_AT, script, sizeof(script));
    for (unsigned i = 0; i < LEN; i++)
        vmm->memory[SOURCE_AT + i] = (uint8_t)(i * 7 + i / 251);
}

static void run_script(struct vmm *vmm)
{
    write_script(vmm);
    write_register(vmm, DIEN, 1, DSTAT_SIR);
    write_register(vmm, DSP, 4, MEMORY_AT + SCRIPT_AT);
    wait_for_interrupt(vmm);
    CHECK(memcmp(vmm->memory + TARGET_AT, vmm->memory + SOURCE_AT, LEN) == 0);
    CHECK(vmm->memory[TARGET_AT - 1] == 0 && vmm->memory[TARGET_AT + LEN] == 0);
    CHECK(read_register(vmm, DSPS, 4) == INTERRUPT_ID);
    CHECK(read_register(vmm, ISTAT0, 1) & ISTAT0_DIP);
}

int main(int argc, char **argv)
{
    struct vmm vmm = {0};
    struct ob_fault fault = {0};
    const struct ob_client_options options = {.size = sizeof(options),
                                              .timeout_ms = 10000,
                                              .callbacks = {.intx_raised = on_interrupt},
                                              .argument = &vmm};
    CHECK(argc == 2);
    if (ob_client_new(atoi(argv[1]), &options, &vmm.client, &fault) < 0)
        fprintf(stderr, "lsi: %s\n", fault.text);
    CHECK(vmm.client);
    publish(&vmm);
    CHECK(ob_client_emulate_intx(vmm.client) == 0);
    probe(&vmm);

    run_script(&vmm);
    ob_client_intx_eoi(vmm.client);
    wait_for_interrupt(&vmm); /* the chip still holds its level */
    CHECK(read_register(&vmm, DSTAT, 1) & DSTAT_SIR);
    ob_client_intx_eoi(vmm.client);
    expect_no_interrupt(&vmm);

    memset(vmm.memory + TARGET_AT, 0, LEN);
    run_script(&vmm); /* the line works again */
    read_register(&vmm, DSTAT, 1);

    CHECK(ob_client_reset(vmm.client) == 0);
    probe(&vmm);
    CHECK(read_register(&vmm, DIEN, 1) == 0);
    printf("%u interrupts, %u bytes moved twice\n", vmm.interrupts, LEN);
    munmap(vmm.memory, MEMORY_LEN);
    ob_client_free(vmm.client);
    return 0;
}
