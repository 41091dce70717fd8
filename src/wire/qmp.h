// SPDX-License-Identifier: BSD-3-Clause
/* The envelopes of QMP: an answer is a line with a return or an error, and the id of its request. */
#ifndef OUTBOARD_WIRE_QMP_H
#define OUTBOARD_WIRE_QMP_H

#include "wire/json_out.h"

#define QMP_GENERIC   "GenericError"
#define QMP_NOT_FOUND "CommandNotFound"

/* json: a value. id: of the request, or NULL. */
void qmp_put_return(struct json_out *out, const char *json, size_t len, const struct json *id);
void qmp_put_error(struct json_out *out, const char *class, const char *text, size_t len,
                   const struct json *id);

/* The error for bytes that are no JSON: the offset of the first one in the stream, and the reason. */
void qmp_put_fault(struct json_out *out, uint64_t offset, const char *fault);

/* Checks the members of a request. NULL: they are right; else the error, which may be in ret_text. */
const char *qmp_check_request(const struct json *request, char *ret_text, size_t size);

#endif
