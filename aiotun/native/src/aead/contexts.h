/* OpenSSL's contexts. Keys take them in turn: to give one a key takes less time than to wait until a
   context of the key's own has come from memory, as with many peers it had to. */

#pragma once

#include <Python.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <stdbool.h>
#include <stdint.h>

#include "pool.h"

/* See aead/algorithms.py. */
enum { KEY_SIZE = 32, NONCE_HEAD_SIZE = 4 };

/* A key, and what else is the same for each of its packets. */
typedef struct {
    uint64_t number; /* no other key has it; 0: the key was closed */
    uint8_t key[KEY_SIZE];
    uint8_t nonce_head[NONCE_HEAD_SIZE];
    PyObject *associated; /* bytes that are authenticated with each packet and not sent, or NULL */
} Secret;

typedef struct {
    EVP_CIPHER_CTX *openssl;
    uint64_t key;    /* the number of the key that it has, or 0 */
    uint64_t closed; /* as in Contexts when it was taken */
} Context;

/* Contexts that do the same. All but give_key takes the GIL, which guards them. */
typedef struct {
    const EVP_CIPHER *(*cipher)(void);
    bool seals;
    int count;
    uint64_t closed; /* how many keys of these were */
    Context idle[POOL_THREADS_MAX];
} Contexts;

enum { OPENING, SEALING };
static Contexts chacha20_poly1305[] = {
    [OPENING] = {.cipher = EVP_chacha20_poly1305, .seals = false},
    [SEALING] = {.cipher = EVP_chacha20_poly1305, .seals = true},
};
static Contexts aes_256_gcm[] = {
    [OPENING] = {.cipher = EVP_aes_256_gcm, .seals = false},
    [SEALING] = {.cipher = EVP_aes_256_gcm, .seals = true},
};

/* Where secrets are copied this comes first: keep_context then knows of each that is closed from there on.
   Return false with an exception set. */
static bool
take_context(Contexts *contexts, Context *taken)
{
    if (contexts->count)
        *taken = contexts->idle[--contexts->count];
    else {
        *taken = (Context){.openssl = EVP_CIPHER_CTX_new()};
        if (!taken->openssl || !EVP_CipherInit_ex2(taken->openssl, contexts->cipher(), NULL, NULL,
                                                   contexts->seals, NULL)) {
            EVP_CIPHER_CTX_free(taken->openssl);
            PyErr_SetString(PyExc_RuntimeError, "OpenSSL does not give this cipher");
            return false;
        }
    }
    taken->closed = contexts->closed;
    return true;
}

/* Take a context back. It may have a key that was closed meanwhile: OpenSSL wipes it then. */
static void
keep_context(Contexts *contexts, Context context)
{
    if (context.closed == contexts->closed && contexts->count < POOL_THREADS_MAX)
        contexts->idle[contexts->count++] = context;
    else
        EVP_CIPHER_CTX_free(context.openssl);
}

/* Let a context use this key from now on. This does not need the GIL, if nobody closes the key. */
static bool
give_key(Context *context, const Secret *secret)
{
    if (context->key == secret->number)
        return true;
    context->key = 0;
    if (!EVP_CipherInit_ex2(context->openssl, NULL, secret->key, NULL, -1, NULL))
        return false;
    context->key = secret->number;
    return true;
}

/* Wipe a key, here and in the contexts. Of one that was closed they have nothing any more. */
static void
forget_key(Contexts *contexts, Secret *secret)
{
    if (!secret->number)
        return;
    OPENSSL_cleanse(secret->key, KEY_SIZE);
    secret->number = 0;
    contexts->closed++;
    while (contexts->count)
        EVP_CIPHER_CTX_free(contexts->idle[--contexts->count].openssl);
}
