// SPDX-License-Identifier: BSD-3-Clause
#include "log_page.h"

#include <string.h>

#include "bytes.h"
#include "completion.h"
#include "nvme.h"
#include "prp.h"

#define PAGE_LEN        4096u /* the longest: 64 errors, 1024 namespaces, 512 commands */
#define ERROR_LEN       64u
#define SMART_LEN       512u
#define FIRMWARE_LEN    512u
#define COMMANDS_LEN    4096u
#define SUPPORTED_LEN   1024u
#define UNIT            (UINT64_C(512) * 1000) /* of SMART's data units */
#define SUPPORTED       0x1u                   /* figure 205 */
#define CHANGES_DATA    0x2u
#define NO_PARAMETER    0xffffu
#define SPARE_PERCENT   100
#define SPARE_THRESHOLD 10

/* Figure 194. The newest error comes first. */
static uint32_t fill_errors(struct nvme *nvme, uint8_t *data)
{
    const struct nvme_log *log = &nvme->log;
    for (unsigned i = 0; i < NVME_ERROR_LOG && i < log->errors_told; i++) {
        const struct nvme_log_error *error =
            &log->errors[(log->errors_told - 1 - i) % NVME_ERROR_LOG];
        uint8_t *entry = data + (size_t)i * ERROR_LEN;
        put64(entry, error->count);
        put16(entry + 8, error->sqid);
        put16(entry + 10, error->command_id);
        put16(entry + 12, (uint16_t)(error->status << 1));
        put16(entry + 14, NO_PARAMETER);
        put64(entry + 16, error->lba);
        put32(entry + 24, error->nsid);
    }
    return NVME_ERROR_LOG * ERROR_LEN;
}

/* Figure 196. */
static uint32_t fill_smart(struct nvme *nvme, uint8_t *data)
{
    const struct nvme_log *log = &nvme->log;
    put16(data + 1, NVME_KELVIN);
    data[3] = SPARE_PERCENT;
    data[4] = SPARE_THRESHOLD;
    put64(data + 32, (log->bytes_read + UNIT - 1) / UNIT);
    put64(data + 48, (log->bytes_written + UNIT - 1) / UNIT);
    put64(data + 64, log->reads);
    put64(data + 80, log->writes);
    put64(data + 112, 1); /* power cycles */
    put64(data + 128, (uint64_t)(time(NULL) - log->since) / 3600);
    put64(data + 176, log->errors_told);
    return SMART_LEN;
}

/* Figure 197. */
static uint32_t fill_firmware(struct nvme *nvme, uint8_t *data)
{
    memset(data + 8, ' ', 8);
    memcpy(data + 8, OUTBOARD_VERSION, strnlen(OUTBOARD_VERSION, 8));
    data[0] = 1; /* slot 1 is active */
    return FIRMWARE_LEN;
}

static uint32_t fill_changed_namespaces(struct nvme *nvme, uint8_t *data)
{
    uint8_t *at = data;
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        if (!nvme->namespaces.list[i].changed)
            continue;
        put32(at, nvme->namespaces.list[i].id);
        at += 4;
    }
    return PAGE_LEN;
}

/* Figure 204. */
static uint32_t fill_commands(struct nvme *nvme, uint8_t *data)
{
    static const uint8_t admin[] = {
        NVME_ADMIN_DELETE_SQ,   NVME_ADMIN_CREATE_SQ,       NVME_ADMIN_GET_LOG_PAGE,
        NVME_ADMIN_DELETE_CQ,   NVME_ADMIN_CREATE_CQ,       NVME_ADMIN_IDENTIFY,
        NVME_ADMIN_ABORT,       NVME_ADMIN_SET_FEATURES,    NVME_ADMIN_GET_FEATURES,
        NVME_ADMIN_ASYNC_EVENT, NVME_ADMIN_DOORBELL_BUFFER,
    };
    static const uint8_t read_only[] = {NVME_IO_FLUSH, NVME_IO_READ, NVME_IO_COMPARE};
    static const uint8_t changing[] = {NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_DATASET};
    uint8_t *io = data + 1024;
    for (size_t i = 0; i < sizeof(admin); i++)
        put32(data + 4 * (size_t)admin[i], SUPPORTED);
    for (size_t i = 0; i < sizeof(read_only); i++)
        put32(io + 4 * (size_t)read_only[i], SUPPORTED);
    for (size_t i = 0; i < sizeof(changing); i++)
        put32(io + 4 * (size_t)changing[i], SUPPORTED | CHANGES_DATA);
    return COMMANDS_LEN;
}

/* Which log pages there are: a dword for each, as revision 2.0 has it. */
static uint32_t fill_supported(uint8_t *data)
{
    for (size_t page = NVME_LOG_SUPPORTED; page <= NVME_LOG_COMMANDS; page++)
        put32(data + 4 * page, SUPPORTED);
    return SUPPORTED_LEN;
}

static uint32_t fill(struct nvme *nvme, unsigned page, uint8_t *data)
{
    switch (page) {
    case NVME_LOG_SUPPORTED:
        return fill_supported(data);
    case NVME_LOG_ERROR:
        return fill_errors(nvme, data);
    case NVME_LOG_SMART:
        return fill_smart(nvme, data);
    case NVME_LOG_FIRMWARE:
        return fill_firmware(nvme, data);
    case NVME_LOG_CHANGED_NAMESPACES:
        return fill_changed_namespaces(nvme, data);
    case NVME_LOG_COMMANDS:
        return fill_commands(nvme, data);
    default:
        return 0;
    }
}

static void has_been_read(struct nvme *nvme, enum nvme_log_page page)
{
    for (unsigned i = 0; page == NVME_LOG_CHANGED_NAMESPACES && i < nvme->namespaces.count; i++)
        nvme->namespaces.list[i].changed = false;
    async_event_acknowledge(nvme, page);
}

/* Returns an enum nvme_status. */
static uint16_t get(struct nvme_request *request)
{
    struct nvme *nvme = request->nvme;
    const struct nvme_command *command = &request->command;
    const uint32_t *dword = command->dword;
    unsigned page = dword[10] & 0xff;
    uint64_t wanted = (((uint64_t)(dword[11] & 0xffff) << 16 | dword[10] >> 16) + 1) * 4;
    uint64_t offset = (uint64_t)dword[13] << 32 | dword[12];
    uint8_t data[PAGE_LEN] = {0};
    uint32_t len = fill(nvme, page, data);
    if (len == 0)
        return NVME_INVALID_LOG_PAGE | NVME_DO_NOT_RETRY;
    /* LPA says that SMART is the controller's, not a namespace's. */
    bool names_namespace = command->nsid != 0 && command->nsid != NVME_NSID_ALL;
    if (offset % 4 || offset >= len || (page == NVME_LOG_SMART && names_namespace))
        return NVME_INVALID_FIELD | NVME_DO_NOT_RETRY;
    /* Bytes behind the end of the page are undefined, section 5.14: left as they were. */
    uint32_t available = len - (uint32_t)offset;
    uint16_t status =
        prp_write(nvme, command, data + offset, wanted < available ? (uint32_t)wanted : available);
    if (status == NVME_SUCCESS && !(dword[10] & NVME_LOG_RETAIN_EVENT))
        has_been_read(nvme, page);
    return status;
}

void log_page_get(struct nvme_request *request)
{
    completion_post(request, get(request));
}
