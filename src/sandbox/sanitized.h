// SPDX-License-Identifier: BSD-3-Clause
/* Sanitizers look through the whole process at its end, and lay memory out as no limit allows. */
#ifndef OUTBOARD_SANDBOX_SANITIZED_H
#define OUTBOARD_SANDBOX_SANITIZED_H

#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
