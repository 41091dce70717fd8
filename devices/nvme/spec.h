// SPDX-License-Identifier: BSD-3-Clause
/*
 * The NVM Express Base Specification 1.4 in numbers. Sections are those of that document.
 */
#ifndef OUTBOARD_DEVICES_NVME_SPEC_H
#define OUTBOARD_DEVICES_NVME_SPEC_H

#include <stdint.h>

#define NVME_VERSION 0x00010400u

/* Controller registers, section 3.1. */
enum {
    NVME_REG_CAP = 0x00,
    NVME_REG_VS = 0x08,
    NVME_REG_INTMS = 0x0c,
    NVME_REG_INTMC = 0x10,
    NVME_REG_CC = 0x14,
    NVME_REG_CSTS = 0x1c,
    NVME_REG_AQA = 0x24,
    NVME_REG_ASQ = 0x28,
    NVME_REG_ACQ = 0x30,
    NVME_REG_DOORBELLS = 0x1000,
};

/* CAP, section 3.1.1. */
#define NVME_CAP_CQR         (UINT64_C(1) << 16)
#define NVME_CAP_TO(units)   ((uint64_t)(units) << 24) /* of 500 ms */
#define NVME_CAP_CSS_NVM     (UINT64_C(1) << 37)
#define NVME_PAGE            4096u /* MPSMIN and MPSMAX are 0: pages of 4 KiB only */
#define NVME_DOORBELL_STRIDE 4u    /* DSTRD is 0 */

/* CC, section 3.1.5. */
#define NVME_CC_EN         0x00000001u
#define NVME_CC_CSS(cc)    ((cc) >> 4 & 0x7)
#define NVME_CC_MPS(cc)    ((cc) >> 7 & 0xf)
#define NVME_CC_AMS(cc)    ((cc) >> 11 & 0x7)
#define NVME_CC_SHN(cc)    ((cc) >> 14 & 0x3)
#define NVME_CC_IOSQES(cc) ((cc) >> 16 & 0xf)
#define NVME_CC_IOCQES(cc) ((cc) >> 20 & 0xf)
#define NVME_CC_WRITABLE   0x00fffff1u

#define NVME_AQA_WRITABLE 0x0fff0fffu /* section 3.1.8 */

/* CSTS, section 3.1.6. */
#define NVME_CSTS_RDY           0x00000001u
#define NVME_CSTS_CFS           0x00000002u
#define NVME_CSTS_SHST_MASK     0x0000000cu
#define NVME_CSTS_SHST_OCCURS   0x00000004u
#define NVME_CSTS_SHST_COMPLETE 0x00000008u

/* Entries, section 4.2 and 4.6: two to the power of these bytes. */
enum {
    NVME_SQES = 6,
    NVME_CQES = 4,
};
#define NVME_SQE_LEN (UINT64_C(1) << NVME_SQES)
#define NVME_CQE_LEN (UINT64_C(1) << NVME_CQES)

/* Admin commands, section 5. */
enum nvme_admin_opcode {
    NVME_ADMIN_DELETE_SQ = 0x00,
    NVME_ADMIN_CREATE_SQ = 0x01,
    NVME_ADMIN_GET_LOG_PAGE = 0x02,
    NVME_ADMIN_DELETE_CQ = 0x04,
    NVME_ADMIN_CREATE_CQ = 0x05,
    NVME_ADMIN_IDENTIFY = 0x06,
    NVME_ADMIN_ABORT = 0x08,
    NVME_ADMIN_SET_FEATURES = 0x09,
    NVME_ADMIN_GET_FEATURES = 0x0a,
    NVME_ADMIN_ASYNC_EVENT = 0x0c,
    NVME_ADMIN_DOORBELL_BUFFER = 0x7c,
};

/* NVM commands, section 6. */
enum nvme_io_opcode {
    NVME_IO_FLUSH = 0x00,
    NVME_IO_WRITE = 0x01,
    NVME_IO_READ = 0x02,
    NVME_IO_COMPARE = 0x05,
    NVME_IO_WRITE_ZEROES = 0x08,
    NVME_IO_DATASET = 0x09,
};

/* Status: code type << 8 | code, section 4.6.1.2. */
enum nvme_status {
    NVME_SUCCESS = 0x000,
    NVME_INVALID_OPCODE = 0x001,
    NVME_INVALID_FIELD = 0x002,
    NVME_DATA_TRANSFER_ERROR = 0x004,
    NVME_INTERNAL_ERROR = 0x006,
    NVME_ABORT_REQUESTED = 0x007,
    NVME_ABORTED_BY_DELETION = 0x008,
    NVME_INVALID_NAMESPACE = 0x00b,
    NVME_COMMAND_SEQUENCE_ERROR = 0x00c,
    NVME_PRP_OFFSET_INVALID = 0x013,
    NVME_NAMESPACE_WRITE_PROTECTED = 0x020,
    NVME_LBA_OUT_OF_RANGE = 0x080,
    NVME_CAPACITY_EXCEEDED = 0x081,
    NVME_CQ_INVALID = 0x100,
    NVME_INVALID_QUEUE_ID = 0x101,
    NVME_INVALID_QUEUE_SIZE = 0x102,
    NVME_ASYNC_EVENT_LIMIT = 0x105,
    NVME_INVALID_VECTOR = 0x108,
    NVME_INVALID_LOG_PAGE = 0x109,
    NVME_INVALID_QUEUE_DELETION = 0x10c,
    NVME_FEATURE_NOT_SAVEABLE = 0x10d,
    NVME_FEATURE_NOT_CHANGEABLE = 0x10e,
    NVME_FEATURE_NOT_PER_NAMESPACE = 0x10f,
    NVME_WRITE_FAULT = 0x280,
    NVME_UNRECOVERED_READ = 0x281,
    NVME_COMPARE_FAILURE = 0x285,
    NVME_DO_NOT_RETRY = 0x4000,
};

/* Command dwords, figures 105 and following. */
#define NVME_NSID_ALL           UINT32_MAX
#define NVME_RW_FUA             (1u << 30) /* dword 12 of reads, writes, write zeroes */
#define NVME_WRITE_ZEROES_DEAC  (1u << 25)
#define NVME_DATASET_DEALLOCATE (1u << 2)
#define NVME_DATASET_RANGES     256u
#define NVME_DATASET_RANGE_LEN  16u
#define NVME_QUEUE_CONTIGUOUS   (1u << 0) /* dword 11 of queue creation */
#define NVME_QUEUE_INTERRUPTS   (1u << 1)
#define NVME_FEATURE_SAVE       (1u << 31) /* dword 10 of Set Features */
#define NVME_LOG_RETAIN_EVENT   (1u << 15) /* dword 10 of Get Log Page */

/* CNS of Identify, section 5.15.1. */
enum nvme_cns {
    NVME_CNS_NAMESPACE = 0x00,
    NVME_CNS_CONTROLLER = 0x01,
    NVME_CNS_ACTIVE_LIST = 0x02,
    NVME_CNS_DESCRIPTORS = 0x03,
    /* TP 4056, since revision 2.0 in the base specification; Linux asks for them of a 1.4 too. */
    NVME_CNS_SET_NAMESPACE = 0x05,
    NVME_CNS_SET_CONTROLLER = 0x06,
    NVME_CNS_SET_ACTIVE_LIST = 0x07,
    NVME_CNS_ANY_SET_NAMESPACE = 0x08,
    NVME_CNS_COMMAND_SETS = 0x1c,
};
#define NVME_IDENTIFY_SET(dword11) ((dword11) >> 24) /* CSI */
#define NVME_SET_NVM               0x00
#define NVME_IDENTIFY_LEN          4096u

/* Features, section 5.21.1. */
enum nvme_feature {
    NVME_FEATURE_ARBITRATION = 0x01,
    NVME_FEATURE_POWER = 0x02,
    NVME_FEATURE_TEMPERATURE = 0x04,
    NVME_FEATURE_ERROR_RECOVERY = 0x05,
    NVME_FEATURE_WRITE_CACHE = 0x06,
    NVME_FEATURE_QUEUES = 0x07,
    NVME_FEATURE_COALESCING = 0x08,
    NVME_FEATURE_VECTOR = 0x09,
    NVME_FEATURE_ATOMICITY = 0x0a,
    NVME_FEATURE_ASYNC_EVENT = 0x0b,
    NVME_FEATURE_COUNT,
};

/* Log pages, section 5.14.1. */
enum nvme_log_page {
    NVME_LOG_SUPPORTED = 0x00, /* of revision 2.0; reserved before */
    NVME_LOG_ERROR = 0x01,
    NVME_LOG_SMART = 0x02,
    NVME_LOG_FIRMWARE = 0x03,
    NVME_LOG_CHANGED_NAMESPACES = 0x04,
    NVME_LOG_COMMANDS = 0x05,
};

/* Asynchronous events, section 5.2.1. */
enum nvme_event_type {
    NVME_EVENT_ERROR = 0,
    NVME_EVENT_SMART = 1,
    NVME_EVENT_NOTICE = 2,
    NVME_EVENT_TYPES,
};
enum {
    NVME_ERROR_DOORBELL_REGISTER = 0x00,
    NVME_ERROR_DOORBELL_VALUE = 0x01,
    NVME_NOTICE_NAMESPACE = 0x00,
};
/* In OAES, and in the feature Asynchronous Event Configuration. */
#define NVME_NAMESPACE_NOTICES (1u << 8)

#endif
