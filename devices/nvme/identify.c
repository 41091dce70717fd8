// SPDX-License-Identifier: BSD-3-Clause
#include "identify.h"

#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "completion.h"
#include "nvme.h"
#include "prp.h"

/* Offsets in the controller's data structure, figure 247. */
enum {
    ID_VID = 0,
    ID_SSVID = 2,
    ID_SERIAL = 4,
    ID_MODEL = 24,
    ID_FIRMWARE = 64,
    ID_RAB = 72,
    ID_IEEE = 73,
    ID_MDTS = 77,
    ID_VERSION = 80,
    ID_OAES = 92,
    ID_CONTROLLER_TYPE = 111,
    ID_ADMIN_COMMANDS = 256,
    ID_ABORT_LIMIT = 258,
    ID_EVENT_LIMIT = 259,
    ID_FIRMWARE_UPDATES = 260,
    ID_LOG_PAGES = 261,
    ID_ERROR_LOG = 262,
    ID_WARNING_TEMPERATURE = 266,
    ID_CRITICAL_TEMPERATURE = 268,
    ID_SQES = 512,
    ID_CQES = 513,
    ID_NAMESPACES = 516,
    ID_COMMANDS = 520,
    ID_WRITE_CACHE = 525,
    ID_SUBSYSTEM_NAME = 768,
    ID_POWER_STATES = 2048,
};

/* Offsets in a namespace's data structure, figure 245. */
enum {
    NS_SIZE = 0,
    NS_CAPACITY = 8,
    NS_UTILIZATION = 16,
    NS_FEATURES = 24,
    NS_DEALLOCATE = 33,
    NS_ATTRIBUTES = 99,
    NS_FORMAT = 128,
};

/* Offsets in the NVM command set's data structure of a controller, NVM Command Set Specification
 * 1.0, figure 101. */
enum {
    NVM_WRITE_ZEROES_LIMIT = 1, /* WZSL */
    NVM_DATASET_RANGES = 3,     /* DMRL */
    NVM_DATASET_RANGE = 4,      /* DMRSL, blocks */
    NVM_DATASET_BLOCKS = 8,     /* DMSL */
};

/* Offsets in a namespace's data structure for every command set, base specification 2.0, figure
 * 280. */
enum {
    ANY_ATTRIBUTES = 8,
    ANY_STATUS = 14,
};

#define IEEE_OUI                    0x525400u /* locally administered */
#define CONTROLLER_TYPE_IO          1
#define ADMIN_DOORBELL_BUFFER       0x100 /* OACS */
#define FIRMWARE_ONE_READ_ONLY      0x3   /* one slot, read only */
#define LOG_EFFECTS_AND_OFFSETS     0x6   /* commands supported; extended data (offsets) */
#define COMMANDS_OPTIONAL           0x1d  /* compare, dataset, write zeroes, save and select */
#define CACHE_PRESENT_NO_NSID_ALL   0x5
#define DEALLOCATED_READS_ZERO      0x1
#define WRITE_ZEROES_MAY_DEALLOCATE 0x8
#define NAMESPACE_READY             0x1
#define CELSIUS_70                  343
#define CELSIUS_100                 373
#define MAX_POWER_CENTIWATTS        2500

/* ASCII, padded with spaces, section 1.5. */
static void put_text(uint8_t *at, size_t len, const char *text)
{
    size_t text_len = strnlen(text, len);
    memset(at, ' ', len);
    memcpy(at, text, text_len);
}

static bool has_write_cache(const struct nvme *nvme)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++)
        if (!nvme->namespaces.list[i].block->readonly)
            return true;
    return false;
}

static void put_subsystem_name(uint8_t *at, const struct nvme *nvme)
{
    snprintf((char *)at, 256, "nqn.2014-08.org.nvmexpress:%04x%04x%s:Outboard", NVME_PCI_VENDOR,
             NVME_PCI_VENDOR, nvme->serial);
}

static void identify_controller(const struct nvme *nvme, uint8_t *data)
{
    put16(data + ID_VID, ob_device_vendor_id(nvme->device));
    put16(data + ID_SSVID, NVME_PCI_VENDOR);
    put_text(data + ID_SERIAL, 20, nvme->serial);
    put_text(data + ID_MODEL, 40, "Outboard NVMe");
    put_text(data + ID_FIRMWARE, 8, OUTBOARD_VERSION);
    data[ID_RAB] = 3; /* bursts of two to the power of this */
    data[ID_IEEE] = (uint8_t)IEEE_OUI;
    data[ID_IEEE + 1] = (uint8_t)(IEEE_OUI >> 8);
    data[ID_IEEE + 2] = (uint8_t)(IEEE_OUI >> 16);
    data[ID_MDTS] = NVME_MDTS;
    put32(data + ID_VERSION, NVME_VERSION);
    put32(data + ID_OAES, NVME_NAMESPACE_NOTICES);
    data[ID_CONTROLLER_TYPE] = CONTROLLER_TYPE_IO;
    put16(data + ID_ADMIN_COMMANDS, ADMIN_DOORBELL_BUFFER);
    data[ID_ABORT_LIMIT] = 3;
    data[ID_EVENT_LIMIT] = NVME_ASYNC_EVENTS - 1;
    data[ID_FIRMWARE_UPDATES] = FIRMWARE_ONE_READ_ONLY;
    data[ID_LOG_PAGES] = LOG_EFFECTS_AND_OFFSETS;
    data[ID_ERROR_LOG] = NVME_ERROR_LOG - 1;
    put16(data + ID_WARNING_TEMPERATURE, CELSIUS_70);
    put16(data + ID_CRITICAL_TEMPERATURE, CELSIUS_100);
    data[ID_SQES] = NVME_SQES << 4 | NVME_SQES;
    data[ID_CQES] = NVME_CQES << 4 | NVME_CQES;
    put32(data + ID_NAMESPACES, nvme->namespaces.count);
    put16(data + ID_COMMANDS, COMMANDS_OPTIONAL);
    data[ID_WRITE_CACHE] = has_write_cache(nvme) ? CACHE_PRESENT_NO_NSID_ALL : 0;
    put_subsystem_name(data + ID_SUBSYSTEM_NAME, nvme);
    put16(data + ID_POWER_STATES, MAX_POWER_CENTIWATTS);
}

static void identify_namespace(const struct nvme_namespace *ns, uint8_t *data)
{
    put64(data + NS_SIZE, ns->blocks);
    put64(data + NS_CAPACITY, ns->blocks);
    put64(data + NS_UTILIZATION, ns->blocks);
    data[NS_DEALLOCATE] = WRITE_ZEROES_MAY_DEALLOCATE;
    if (ns->block->zeroes_discarded)
        data[NS_DEALLOCATE] |= DEALLOCATED_READS_ZERO;
    data[NS_ATTRIBUTES] = ns->block->readonly;
    put32(data + NS_FORMAT, ns->block_shift << 16);
}

/* The limits of one command: of zeroes as much as the command can name, or else a driver
 * takes MDTS for the limit; of ranges and their blocks any. */
static void identify_nvm_controller(uint8_t *data)
{
    data[NVM_WRITE_ZEROES_LIMIT] = NVME_WRITE_ZEROES_LIMIT;
    data[NVM_DATASET_RANGES] = NVME_DATASET_LIMIT;
    put32(data + NVM_DATASET_RANGE, UINT32_MAX);
    put64(data + NVM_DATASET_BLOCKS, (uint64_t)NVME_DATASET_LIMIT * UINT32_MAX);
}

static void identify_for_any_set(const struct nvme_namespace *ns, uint8_t *data)
{
    data[ANY_ATTRIBUTES] = ns->block->readonly;
    data[ANY_STATUS] = NAMESPACE_READY;
}

static void list_active(const struct nvme *nvme, uint32_t after, uint8_t *data)
{
    for (unsigned i = 0; i < nvme->namespaces.count; i++) {
        if (nvme->namespaces.list[i].id <= after)
            continue;
        put32(data, nvme->namespaces.list[i].id);
        data += 4;
    }
}

/* Namespace Identification Descriptors, figure 249: the UUID is the only one. */
static void describe(const struct nvme_namespace *ns, uint8_t *data)
{
    data[0] = 3; /* UUID */
    data[1] = sizeof(ns->uuid);
    memcpy(data + 4, ns->uuid, sizeof(ns->uuid));
}

/* Of a namespace, or of one that the list begins behind. Returns an enum nvme_status. */
static uint16_t fill_namespace(const struct nvme_request *request, unsigned cns, uint8_t *data)
{
    struct nvme *nvme = request->nvme;
    uint32_t nsid = request->command.nsid;
    const struct nvme_namespace *ns = namespace_find(nvme, nsid);
    if (cns == NVME_CNS_ACTIVE_LIST || cns == NVME_CNS_SET_ACTIVE_LIST) {
        if (nsid >= NVME_NSID_ALL - 1)
            return NVME_INVALID_NAMESPACE;
        list_active(nvme, nsid, data);
        return NVME_SUCCESS;
    }
    if (!ns)
        return NVME_INVALID_NAMESPACE;
    if (cns == NVME_CNS_NAMESPACE)
        identify_namespace(ns, data);
    else if (cns == NVME_CNS_DESCRIPTORS)
        describe(ns, data);
    else if (cns == NVME_CNS_ANY_SET_NAMESPACE)
        identify_for_any_set(ns, data);
    /* NVME_CNS_SET_NAMESPACE: of protection information, which does not exist here. */
    return NVME_SUCCESS;
}

static bool names_command_set(unsigned cns)
{
    return cns >= NVME_CNS_SET_NAMESPACE && cns <= NVME_CNS_SET_ACTIVE_LIST;
}

/* Fills the data structure that is asked for. Returns an enum nvme_status. */
static uint16_t fill(const struct nvme_request *request, uint8_t *data)
{
    const uint32_t *dword = request->command.dword;
    unsigned cns = dword[10] & 0xff;
    if (names_command_set(cns) && NVME_IDENTIFY_SET(dword[11]) != NVME_SET_NVM)
        return NVME_INVALID_FIELD;
    switch (cns) {
    case NVME_CNS_CONTROLLER:
        identify_controller(request->nvme, data);
        return NVME_SUCCESS;
    case NVME_CNS_SET_CONTROLLER:
        identify_nvm_controller(data);
        return NVME_SUCCESS;
    case NVME_CNS_COMMAND_SETS:
        put64(data, UINT64_C(1) << NVME_SET_NVM);
        return NVME_SUCCESS;
    case NVME_CNS_NAMESPACE:
    case NVME_CNS_ACTIVE_LIST:
    case NVME_CNS_DESCRIPTORS:
    case NVME_CNS_SET_NAMESPACE:
    case NVME_CNS_SET_ACTIVE_LIST:
    case NVME_CNS_ANY_SET_NAMESPACE:
        return fill_namespace(request, cns, data);
    default:
        return NVME_INVALID_FIELD;
    }
}

void identify(struct nvme_request *request)
{
    uint8_t data[NVME_IDENTIFY_LEN] = {0};
    uint16_t status = fill(request, data);
    if (status == NVME_SUCCESS)
        status = prp_write(request->nvme, &request->command, data, sizeof(data));
    else
        status |= NVME_DO_NOT_RETRY;
    completion_post(request, status);
}
