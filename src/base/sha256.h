// SPDX-License-Identifier: BSD-3-Clause
/*
 * SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104).
 *
 * Why of our own: the session engine runs in guests too, in one static file that links libc alone,
 * where Debian has no small cryptographic library to link. It proves knowledge of a pre-shared key
 * and draws nonces; nothing is encrypted with it. Both are tested with the official vectors.
 */
#ifndef OUTBOARD_BASE_SHA256_H
#define OUTBOARD_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN       32
#define SHA256_BLOCK_LEN 64

struct sha256 {
    uint32_t state[8];
    uint64_t len; /* bytes taken so far */
    uint8_t block[SHA256_BLOCK_LEN];
};

void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const void *bytes, size_t len);
void sha256_done(struct sha256 *sha, uint8_t ret_digest[SHA256_LEN]);

struct hmac_sha256 {
    struct sha256 inner, outer;
};

void hmac_sha256_init(struct hmac_sha256 *hmac, const void *key, size_t key_len);
void hmac_sha256_update(struct hmac_sha256 *hmac, const void *bytes, size_t len);
void hmac_sha256_done(struct hmac_sha256 *hmac, uint8_t ret_digest[SHA256_LEN]);

/* Compares in a time that does not depend on where the bytes differ. */
bool equal_in_constant_time(const void *a, const void *b, size_t len);

#endif
