/* One packet sealed or opened, by OpenSSL's EVP. There is no cryptography here. */

#pragma once

#include <Python.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "../offload/checksum.h"
#include "contexts.h"

/* See aead/python.py. */
enum {
    COUNTER_SIZE = 8,
    NONCE_SIZE = NONCE_HEAD_SIZE + COUNTER_SIZE,
    TAG_SIZE = 16,
};

typedef struct Source Source; /* see frames.h */

/* One packet: where it stands, where it goes, and after opening whether it was authentic. */
typedef struct {
    const uint8_t *in;
    uint8_t *out;
    Py_ssize_t size; /* size of what is encrypted, without padding and tag */
    Py_ssize_t pad;
    uint64_t counter;
    const Source *source; /* the frame that the packet is made from, or NULL */
    size_t number;        /* the packet's place in that frame */
    bool done;
} Item;

static void
write_counter(uint8_t *to, uint64_t counter)
{
    for (int i = 0; i < COUNTER_SIZE; i++)
        to[i] = (uint8_t)(counter >> 8 * i);
}

static uint64_t
read_counter(const uint8_t *from)
{
    uint64_t counter = 0;
    for (int i = COUNTER_SIZE; i--;)
        counter = counter << 8 | from[i];
    return counter;
}

static bool
begin(const Secret *secret, EVP_CIPHER_CTX *context, uint64_t counter)
{
    uint8_t nonce[NONCE_SIZE];
    memcpy(nonce, secret->nonce_head, NONCE_HEAD_SIZE);
    write_counter(nonce + NONCE_HEAD_SIZE, counter);
    PyObject *associated = secret->associated;
    int size;
    return EVP_CipherInit_ex2(context, NULL, NULL, nonce, -1, NULL) &&
           (!associated || EVP_CipherUpdate(context, NULL, &size,
                                            (const uint8_t *)PyBytes_AS_STRING(associated),
                                            (int)PyBytes_GET_SIZE(associated)));
}

#ifdef __x86_64__
NEEDED_AT_RUN_TIME("avx") static void
clear_upper_halves(void)
{
    _mm256_zeroupper();
}
#endif

/* End a packet. OpenSSL's Poly1305 for AVX512-IFMA (poly1305_blocks_vpmadd52) leaves the upper halves of
   vector registers in use, and the next SSE instruction would wait long for that. */
static bool
end(EVP_CIPHER_CTX *context, uint8_t *out)
{
    int written;
    const bool done = EVP_CipherFinal_ex(context, out, &written);
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512ifma"))
        clear_upper_halves();
#endif
    return done;
}

static void
seal_one(const Secret *secret, EVP_CIPHER_CTX *context, Item *item)
{
    const Py_ssize_t size = item->size + item->pad;
    const uint8_t *in = item->in;
    if (item->pad) {
        if (in != item->out)
            memcpy(item->out, in, (size_t)item->size);
        memset(item->out + item->size, 0, (size_t)item->pad);
        in = item->out;
    }
    OSSL_PARAM tag[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, item->out + size, TAG_SIZE),
        OSSL_PARAM_END,
    };
    int written;
    item->done = begin(secret, context, item->counter) &&
                 (!size || EVP_CipherUpdate(context, item->out, &written, in, (int)size)) &&
                 end(context, item->out + size) &&
                 EVP_CIPHER_CTX_get_params(context, tag);
}

static void
open_one(const Secret *secret, EVP_CIPHER_CTX *context, Item *item)
{
    OSSL_PARAM tag[] = {
        OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, (void *)(item->in + item->size),
                                TAG_SIZE),
        OSSL_PARAM_END,
    };
    int written;
    item->done = begin(secret, context, item->counter) &&
                 EVP_CIPHER_CTX_set_params(context, tag) &&
                 (!item->size ||
                  EVP_CipherUpdate(context, item->out, &written, item->in, (int)item->size)) &&
                 end(context, item->out + item->size);
}
