// SPDX-License-Identifier: BSD-3-Clause
#include "base/sha256.h"

#include <string.h>

/* FIPS 180-4, 4.2.2. */
static const uint32_t round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t word, unsigned int by)
{
    return word >> by | word << (32 - by);
}

static uint32_t load_be(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void store_be(uint8_t *at, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(word >> (24 - 8 * i));
}

/* FIPS 180-4, 6.2.2, step 1. */
static void schedule(const uint8_t *block, uint32_t w[64])
{
    for (size_t t = 0; t < 16; t++)
        w[t] = load_be(block + 4 * t);
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
}

/* FIPS 180-4, 6.2.2, steps 2 to 4; v holds the working variables a to h. */
static void compress(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64];
    uint32_t v[8];
    schedule(block, w);
    memcpy(v, state, sizeof(v));
    for (int t = 0; t < 64; t++) {
        uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + round_constant[t] + w[t];
        uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

void sha256_init(struct sha256 *sha)
{
    /* FIPS 180-4, 5.3.3. */
    *sha = (struct sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                     0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_update(struct sha256 *sha, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++) {
        sha->block[sha->len++ % SHA256_BLOCK_LEN] = at[i];
        if (sha->len % SHA256_BLOCK_LEN == 0)
            compress(sha->state, sha->block);
    }
}

void sha256_done(struct sha256 *sha, uint8_t ret_digest[SHA256_LEN])
{
    uint64_t bits = sha->len * 8;
    uint8_t len[8];
    store_be(len, (uint32_t)(bits >> 32));
    store_be(len + 4, (uint32_t)bits);
    sha256_update(sha, "\x80", 1);
    while (sha->len % SHA256_BLOCK_LEN != SHA256_BLOCK_LEN - sizeof(len))
        sha256_update(sha, "", 1);
    sha256_update(sha, len, sizeof(len));
    for (size_t i = 0; i < 8; i++)
        store_be(ret_digest + 4 * i, sha->state[i]);
}

void hmac_sha256_init(struct hmac_sha256 *hmac, const void *key, size_t key_len)
{
    uint8_t pad[SHA256_BLOCK_LEN] = {0};
    if (key_len > sizeof(pad)) {
        struct sha256 sha;
        sha256_init(&sha);
        sha256_update(&sha, key, key_len);
        sha256_done(&sha, pad);
    } else if (key_len) {
        memcpy(pad, key, key_len);
    }
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] ^= 0x36;
    sha256_init(&hmac->inner);
    sha256_update(&hmac->inner, pad, sizeof(pad));
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] ^= 0x36 ^ 0x5c;
    sha256_init(&hmac->outer);
    sha256_update(&hmac->outer, pad, sizeof(pad));
    explicit_bzero(pad, sizeof(pad));
}

void hmac_sha256_update(struct hmac_sha256 *hmac, const void *bytes, size_t len)
{
    sha256_update(&hmac->inner, bytes, len);
}

void hmac_sha256_done(struct hmac_sha256 *hmac, uint8_t ret_digest[SHA256_LEN])
{
    uint8_t digest[SHA256_LEN];
    sha256_done(&hmac->inner, digest);
    sha256_update(&hmac->outer, digest, sizeof(digest));
    sha256_done(&hmac->outer, ret_digest);
    explicit_bzero(hmac, sizeof(*hmac));
}

bool equal_in_constant_time(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *left = a;
    const volatile uint8_t *right = b;
    uint8_t difference = 0;
    for (size_t i = 0; i < len; i++)
        difference |= left[i] ^ right[i];
    return difference == 0;
}
