// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device to begin yours with: it adds up bytes of the guest's memory.
 *
 * BAR 0:
 *   0x00  64 bits  ADDRESS  where in guest memory
 *   0x08  32 bits  LENGTH   how many bytes, 1 to 65536
 *   0x0c  32 bits  START    a write begins
 *   0x10  32 bits  STATUS   enum status; a write ends the interrupt
 *   0x18  64 bits  SUM      of the last time that went well
 *
 * The guest writes ADDRESS and LENGTH, then START. The device copies the range from guest memory,
 * which may take its time (--dma=messages asks the VMM for it), adds up the bytes and raises its
 * interrupt. One range at a time: START is ignored while it is busy.
 */
#include <errno.h>

#include <outboard/dma.h>
#include <outboard/irq.h>
#include <outboard/program.h>
#include <outboard/state.h>
#include <outboard/vault.h>

#define MAX_LEN   65536u
#define STATE_LEN 32 /* the most that fields() takes */

enum register_offset {
    REG_ADDRESS = 0x00,
    REG_LENGTH = 0x08,
    REG_START = 0x0c,
    REG_STATUS = 0x10,
    REG_SUM = 0x18,
};

enum status {
    STATUS_IDLE,
    STATUS_BUSY,
    STATUS_DONE,
    STATUS_FAILED, /* the range is not guest memory, or LENGTH is out of bounds */
    STATUS_COUNT,
};

/* The registers, which are also the saved state. */
struct registers {
    uint64_t address;
    uint32_t length;
    uint32_t status; /* enum status */
    uint64_t sum;
};

struct sum {
    struct ob_device *device;
    struct registers registers;
    bool paused;
    bool copying; /* the request is on its way */
    struct ob_dma_request request;
    uint8_t bytes[MAX_LEN];
};

static void finish(struct sum *sum, enum status status)
{
    sum->registers.status = status;
    ob_irq_raise(sum->device);
}

/* The bytes are there, or can't be had. */
static void copied(struct ob_dma_request *request, int result)
{
    struct sum *sum = request->context;
    sum->copying = false;
    if (result < 0) {
        finish(sum, STATUS_FAILED);
        return;
    }
    sum->registers.sum = 0;
    for (size_t i = 0; i < request->len; i++)
        sum->registers.sum += sum->bytes[i];
    finish(sum, STATUS_DONE);
}

/* A device that is paused starts nothing; a BUSY request begins when it runs again. */
static void begin(struct sum *sum)
{
    if (sum->paused || sum->copying || sum->registers.status != STATUS_BUSY)
        return;
    sum->copying = true;
    sum->request = (struct ob_dma_request){.iova = sum->registers.address,
                                           .buf = sum->bytes,
                                           .len = sum->registers.length,
                                           .direction = OB_DMA_TO_DEVICE,
                                           .done = copied,
                                           .context = sum};
    ob_dma_submit(sum->device, &sum->request);
}

static void start(struct sum *sum)
{
    if (sum->registers.status == STATUS_BUSY)
        return;
    if (sum->registers.length == 0 || sum->registers.length > MAX_LEN) {
        finish(sum, STATUS_FAILED);
        return;
    }
    sum->registers.status = STATUS_BUSY;
    begin(sum);
}

static uint64_t sum_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    const struct sum *sum = state;
    switch (offset) {
    case REG_ADDRESS:
        return sum->registers.address;
    case REG_LENGTH:
        return sum->registers.length;
    case REG_STATUS:
        return sum->registers.status;
    case REG_SUM:
        return sum->registers.sum;
    default:
        return UINT64_MAX; /* as where no device is */
    }
}

static void sum_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct sum *sum = state;
    bool is_busy = sum->registers.status == STATUS_BUSY;
    if (offset == REG_ADDRESS && size == 8 && !is_busy)
        sum->registers.address = value;
    else if (offset == REG_LENGTH && size == 4 && !is_busy)
        sum->registers.length = (uint32_t)value;
    else if (offset == REG_START && size == 4)
        start(sum);
    else if (offset == REG_STATUS && size == 4)
        ob_irq_lower(sum->device);
}

/* The library has lowered the interrupt already. */
static void sum_reset(void *state)
{
    struct sum *sum = state;
    ob_dma_cancel(sum->device, &sum->request);
    sum->copying = false;
    sum->registers = (struct registers){0};
}

static void sum_pause(void *state, bool paused)
{
    struct sum *sum = state;
    sum->paused = paused;
    begin(sum);
}

/* A copy that is on its way ends by itself. */
static int sum_at_rest(void *state, struct ob_fault *fault)
{
    const struct sum *sum = state;
    return sum->copying ? 0 : 1;
}

/* All that is saved, named once for both ways. */
static int fields(struct ob_state_fields *fields, struct registers *registers)
{
    ob_state_u64(fields, &registers->address);
    ob_state_u32(fields, &registers->length);
    ob_state_u32(fields, &registers->status);
    ob_state_u64(fields, &registers->sum);
    return ob_state_done(fields);
}

static int sum_save(void *state, uint8_t *ret_buf, size_t size)
{
    struct sum *sum = state;
    struct ob_state_fields saved = ob_state_saved(ret_buf, size);
    return fields(&saved, &sum->registers);
}

/* Trusts nothing: the process that wrote the registers may have been taken over. */
static int check_registers(const struct registers *registers, struct ob_fault *fault)
{
    if (registers->status >= STATUS_COUNT)
        return ob_fault_set(fault, -EINVAL, "the saved STATUS: got %u, expected less than %u",
                            registers->status, STATUS_COUNT);
    bool is_busy = registers->status == STATUS_BUSY;
    if (is_busy && (registers->length == 0 || registers->length > MAX_LEN))
        return ob_fault_set(fault, -EINVAL, "the saved LENGTH: got %u, expected 1 to %u",
                            registers->length, MAX_LEN);
    return 0;
}

static int sum_load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                    struct ob_fault *fault)
{
    struct sum *sum = state;
    struct registers registers;
    struct ob_state_fields loaded = ob_state_loaded(buf, len);
    int err = fields(&loaded, &registers);
    if (err < 0)
        return ob_fault_set(fault, err, "the saved state: got %zu bytes, which do not fit", len);
    err = check_registers(&registers, fault);
    if (err == 0)
        sum->registers = registers;
    return err;
}

static int sum_check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    return check_registers(bytes, fault);
}

/* The process before has died. A range that it was copying is copied again. */
static void sum_resumed(void *state)
{
    begin(state);
}

static int sum_create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "sum",
        .vendor_id = 0x1af4, /* QEMU's; 10f0 to 10ff are for experiments */
        .device_id = 0x10f4,
        .class_code = 0xff0000,
        .intx = true,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096}},
        .state_len = STATE_LEN,
        .state_version = 1,
    };
    static const struct ob_device_ops ops = {.size = sizeof(ops),
                                             .read = sum_read,
                                             .write = sum_write,
                                             .reset = sum_reset,
                                             .pause = sum_pause,
                                             .at_rest = sum_at_rest,
                                             .save = sum_save,
                                             .load = sum_load};
    struct sum *sum = config;
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = &sum->registers,
                                        .len = sizeof(sum->registers),
                                        .version = 1,
                                        .check = sum_check,
                                        .resumed = sum_resumed};
    int err = ob_device_new(&desc, &ops, sum, &sum->device, fault);
    if (err < 0)
        return err;
    *ret_device = sum->device;
    return ob_vault_keep(sum->device, &kept);
}

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "sum",
        .summary = "A PCI device that adds up bytes of the guest's memory.",
        .type = "sum",
        .version = "1.0",
        .create = sum_create,
    };
    static struct sum sum;
    return ob_program_main(&program, &sum, argc, argv);
}
