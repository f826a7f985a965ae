/* What OpenSSL takes to seal and to open one packet after the other with one key: processor time
   in nanoseconds a packet, "SEAL OPEN", the least of several rounds.

   packets ALGORITHM SIZE

   `openssl speed -evp` sets one nonce and takes one tag in all, with -aead too (3.0): each packet
   has its own here. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>

enum { ROUNDS = 10, PACKETS = 10000, TAG_SIZE = 16, PACKET_MAX = 65536 };

static unsigned char packet[PACKET_MAX], sealed[PACKET_MAX], tag[TAG_SIZE];

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}

static int
seal(EVP_CIPHER_CTX *context, const unsigned char *nonce, int size)
{
    OSSL_PARAM out[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, TAG_SIZE),
                        OSSL_PARAM_END};
    int written;
    return EVP_CipherInit_ex2(context, NULL, NULL, nonce, -1, NULL) &&
           EVP_CipherUpdate(context, sealed, &written, packet, size) &&
           EVP_CipherFinal_ex(context, sealed + size, &written) &&
           EVP_CIPHER_CTX_get_params(context, out);
}

static int
unseal(EVP_CIPHER_CTX *context, const unsigned char *nonce, int size)
{
    OSSL_PARAM in[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, tag, TAG_SIZE),
                       OSSL_PARAM_END};
    int written;
    return EVP_CipherInit_ex2(context, NULL, NULL, nonce, -1, in) &&
           EVP_CipherUpdate(context, packet, &written, sealed, size) &&
           EVP_CipherFinal_ex(context, packet + size, &written);
}

int
main(int count, char **arguments)
{
    unsigned char key[32] = {0}, nonce[12] = {0};
    const int size = count == 3 ? atoi(arguments[2]) : 0;
    EVP_CIPHER *cipher = count == 3 ? EVP_CIPHER_fetch(NULL, arguments[1], NULL) : NULL;
    EVP_CIPHER_CTX *sealer = EVP_CIPHER_CTX_new(), *opener = EVP_CIPHER_CTX_new();
    if (!cipher || !(EVP_CIPHER_get_flags(cipher) & EVP_CIPH_FLAG_AEAD_CIPHER) || size < 1 ||
        size > PACKET_MAX || !sealer || !opener ||
        !EVP_CipherInit_ex2(sealer, cipher, key, nonce, 1, NULL) ||
        !EVP_CipherInit_ex2(opener, cipher, key, nonce, 0, NULL))
        return 1;
    double sealing = 1e12, opening = 1e12;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < PACKETS; i++) {
            memcpy(nonce + 4, &i, sizeof i);
            if (!seal(sealer, nonce, size))
                return 1;
        }
        double taken = now() - start;
        sealing = taken < sealing ? taken : sealing;
        start = now();
        for (int i = 0; i < PACKETS; i++) /* the last one sealed, again and again */
            if (!unseal(opener, nonce, size))
                return 1;
        taken = now() - start;
        opening = taken < opening ? taken : opening;
    }
    printf("%.1f %.1f\n", sealing / PACKETS, opening / PACKETS);
    return 0;
}
