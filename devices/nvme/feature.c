// SPDX-License-Identifier: BSD-3-Clause
#include "feature.h"

#include <string.h>

#include "completion.h"
#include "nvme.h"

enum select {
    SELECT_CURRENT = 0,
    SELECT_DEFAULT = 1,
    SELECT_SAVED = 2,
    SELECT_CAPABILITIES = 3,
};

#define NO_COALESCING            (1u << 16)
#define CAPABILITY_CHANGEABLE    (1u << 2)
#define WRITE_CACHE_ON           1u
#define QUEUES_ALLOCATED         ((NVME_IO_QUEUES - 1) | (NVME_IO_QUEUES - 1) << 16)
#define TEMPERATURE_UNDER(word)  ((word) >> 20 & 0x3)
#define TEMPERATURE_SENSOR(word) ((word) >> 16 & 0xf)
#define OVER_DEFAULT             343u /* the warning temperature */
#define SMART_NOTICES            0x1fu

static uint32_t default_of(unsigned feature)
{
    switch (feature) {
    case NVME_FEATURE_ARBITRATION:
        return 3; /* bursts of eight */
    case NVME_FEATURE_WRITE_CACHE:
        return WRITE_CACHE_ON;
    case NVME_FEATURE_QUEUES:
        return QUEUES_ALLOCATED;
    case NVME_FEATURE_TEMPERATURE:
        return OVER_DEFAULT;
    default:
        return 0;
    }
}

/* Which bits a guest may set, for those features that it may set at all. */
static uint32_t writable_bits(unsigned feature)
{
    switch (feature) {
    case NVME_FEATURE_ARBITRATION:
        return 0xffffff07;
    case NVME_FEATURE_ERROR_RECOVERY:
        return 0x0001ffff;
    case NVME_FEATURE_WRITE_CACHE:
        return WRITE_CACHE_ON;
    case NVME_FEATURE_COALESCING:
        return 0x0000ffff;
    case NVME_FEATURE_ATOMICITY:
        return 1;
    case NVME_FEATURE_ASYNC_EVENT:
        return NVME_NAMESPACE_NOTICES | SMART_NOTICES;
    default:
        return 0;
    }
}

static bool exists(unsigned feature)
{
    return feature >= NVME_FEATURE_ARBITRATION && feature < NVME_FEATURE_COUNT && feature != 0x03;
}

void features_reset(struct nvme *nvme)
{
    for (unsigned i = 0; i < NVME_FEATURE_COUNT; i++)
        nvme->features.value[i] = default_of(i);
    nvme->features.temperature[0] = OVER_DEFAULT;
    nvme->features.temperature[1] = 0;
    memset(nvme->features.no_coalescing, 0, sizeof(nvme->features.no_coalescing));
}

bool features_are_possible(const struct nvme_features *features)
{
    bool possible = true;
    for (unsigned i = 0; i < NVME_FEATURE_COUNT; i++) {
        uint32_t fixed = writable_bits(i) ? 0 : default_of(i);
        possible &= (features->value[i] & ~writable_bits(i)) == fixed;
    }
    return possible;
}

bool features_write_cache(const struct nvme *nvme)
{
    return nvme->features.value[NVME_FEATURE_WRITE_CACHE] & WRITE_CACHE_ON;
}

bool features_namespace_notices(const struct nvme *nvme)
{
    return nvme->features.value[NVME_FEATURE_ASYNC_EVENT] & NVME_NAMESPACE_NOTICES;
}

static uint32_t current_of(const struct nvme *nvme, const struct nvme_command *command,
                           unsigned feature)
{
    uint32_t word = command->dword[11];
    if (feature == NVME_FEATURE_TEMPERATURE)
        return nvme->features.temperature[TEMPERATURE_UNDER(word) == 1];
    if (feature == NVME_FEATURE_VECTOR)
        return (word & 0xffff) | (nvme->features.no_coalescing[word & 0xffff] ? NO_COALESCING : 0);
    return nvme->features.value[feature];
}

/* A vector's setting goes by its number. */
static bool names_vector(const struct nvme *nvme, const struct nvme_command *command,
                         unsigned feature)
{
    return feature != NVME_FEATURE_VECTOR ||
           (command->dword[11] & 0xffff) < interrupt_vectors(nvme);
}

void features_get(struct nvme_request *request)
{
    const struct nvme_command *command = &request->command;
    unsigned feature = command->dword[10] & 0xff;
    if (!exists(feature) || !names_vector(request->nvme, command, feature)) {
        completion_post(request, NVME_INVALID_FIELD | NVME_DO_NOT_RETRY);
        return;
    }
    switch (command->dword[10] >> 8 & 0x7) {
    case SELECT_CURRENT:
        request->result = current_of(request->nvme, command, feature);
        break;
    case SELECT_DEFAULT:
    case SELECT_SAVED: /* nothing is saved: the default then, section 5.12 */
        request->result = default_of(feature);
        break;
    case SELECT_CAPABILITIES:
        request->result = CAPABILITY_CHANGEABLE;
        break;
    default:
        completion_post(request, NVME_INVALID_FIELD | NVME_DO_NOT_RETRY);
        return;
    }
    completion_post(request, NVME_SUCCESS);
}

static bool has_io_queues(const struct nvme *nvme)
{
    for (unsigned i = 1; i < NVME_QUEUES; i++)
        if (nvme->queues.cq[i].exists || nvme->queues.sq[i].state != SQ_ABSENT)
            return true;
    return false;
}

/* Section 5.21.1.7. All queues are there, however few the guest asks for. */
static uint16_t set_queues(struct nvme_request *request)
{
    uint32_t word = request->command.dword[11];
    if ((word & 0xffff) == 0xffff || word >> 16 == 0xffff)
        return NVME_INVALID_FIELD;
    if (has_io_queues(request->nvme))
        return NVME_COMMAND_SEQUENCE_ERROR;
    request->result = QUEUES_ALLOCATED;
    return NVME_SUCCESS;
}

static uint16_t set_temperature(struct nvme_request *request)
{
    uint32_t word = request->command.dword[11];
    unsigned sensor = TEMPERATURE_SENSOR(word);
    /* 0 is the composite temperature, the only one; 15 means all. */
    if (TEMPERATURE_UNDER(word) > 1 || (sensor != 0 && sensor != 15))
        return NVME_INVALID_FIELD;
    request->nvme->features.temperature[TEMPERATURE_UNDER(word)] = (uint16_t)word;
    return NVME_SUCCESS;
}

/* Section 5.21.1.9. Nothing is coalesced anyway. */
static uint16_t set_vector(struct nvme_request *request)
{
    uint32_t word = request->command.dword[11];
    if (!names_vector(request->nvme, &request->command, NVME_FEATURE_VECTOR))
        return NVME_INVALID_FIELD;
    request->nvme->features.no_coalescing[word & 0xffff] = word & NO_COALESCING;
    return NVME_SUCCESS;
}

/* Section 5.21.1. Error Recovery is a namespace's; one setting serves all of them here. */
static bool is_per_namespace(unsigned feature)
{
    return feature == NVME_FEATURE_ERROR_RECOVERY;
}

/* Returns an enum nvme_status. */
static uint16_t set(struct nvme_request *request, unsigned feature)
{
    const struct nvme_command *command = &request->command;
    if (!exists(feature))
        return NVME_INVALID_FIELD;
    if (command->dword[10] & NVME_FEATURE_SAVE)
        return NVME_FEATURE_NOT_SAVEABLE;
    if (!is_per_namespace(feature) && command->nsid != 0 && command->nsid != NVME_NSID_ALL)
        return NVME_FEATURE_NOT_PER_NAMESPACE;
    if (feature == NVME_FEATURE_QUEUES)
        return set_queues(request);
    if (feature == NVME_FEATURE_TEMPERATURE)
        return set_temperature(request);
    if (feature == NVME_FEATURE_POWER) /* state 0 is the only one */
        return command->dword[11] & 0x1f ? NVME_INVALID_FIELD : NVME_SUCCESS;
    if (feature == NVME_FEATURE_VECTOR)
        return set_vector(request);
    request->nvme->features.value[feature] = command->dword[11] & writable_bits(feature);
    return NVME_SUCCESS;
}

void features_set(struct nvme_request *request)
{
    uint16_t status = set(request, request->command.dword[10] & 0xff);
    if (status != NVME_SUCCESS)
        status |= NVME_DO_NOT_RETRY;
    completion_post(request, status);
}
