#!/bin/sh
# OpenSSL's ChaCha20-Poly1305 returns with the upper halves of vector registers in use, on
# processors with AVX512-IFMA: its Poly1305 has no vzeroupper at its end there. SSE instructions
# behind it then wait for those halves, until somebody clears them. AES-256-GCM clears them.
# A processor without AVX512-IFMA, or one that does not tell what is in use, shows nothing of it.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
# This wheel brings an OpenSSL of its own.
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  --only-binary :all: psycopg2-binary==2.9.11
library=$(find "$scratch/venv" -name 'libcrypto-*.so.3')

cat >"$scratch/halves.c" <<'C'
#include <dlfcn.h>
#include <immintrin.h>
#include <stdio.h>

static void *library;

static void *
find(const char *name)
{
    return dlsym(library, name);
}

/* Whether upper halves are in use: XGETBV with ECX = 1, component 2 (Intel SDM, volume 1, 13.1). */
__attribute__((target("xsave,xsavec"))) static int
in_use(void)
{
    return _xgetbv(1) >> 2 & 1;
}

__attribute__((target("avx"))) static void
clear(void)
{
    _mm256_zeroupper();
}

__attribute__((target("avx"))) static void
use(void)
{
    __asm__ volatile("vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n\tvinsertf128 $1, %%xmm0, %%ymm0, %%ymm0" ::: "xmm0");
}

static int
after(const char *name)
{
    static unsigned char key[32], nonce[12], data[1420], out[1440];
    int size, used;
    void *(*make)(void) = find("EVP_CIPHER_CTX_new");
    void *(*get)(void *, const char *, const char *) = find("EVP_CIPHER_fetch");
    int (*begin)(void *, void *, void *, void *, void *) = find("EVP_EncryptInit_ex");
    int (*update)(void *, void *, int *, void *, int) = find("EVP_EncryptUpdate");
    int (*end)(void *, void *, int *) = find("EVP_EncryptFinal_ex");
    void *context = make();
    begin(context, get(NULL, name, NULL), NULL, key, nonce);
    update(context, out, &size, data, sizeof data);
    clear();
    end(context, out + size, &size);
    used = in_use();
    clear();
    printf("%s: %s\n", name, used ? "in use" : "clear");
    return used;
}

int
main(int count, char **arguments)
{
    library = dlopen(arguments[count - 1], RTLD_NOW);
    if (!library)
        return fprintf(stderr, "%s\n", dlerror()), 2;
    puts(((const char *(*)(int))find("OpenSSL_version"))(0));
    use();
    int told = in_use();
    clear();
    if (!told || in_use())
        return puts("this processor does not tell which registers are in use"), 0;
    puts("upper halves behind EVP_EncryptFinal_ex:");
    return !(after("ChaCha20-Poly1305") == 1 && after("AES-256-GCM") == 0);
}
C
if ! grep -qw avx512ifma /proc/cpuinfo || ! grep -qw xgetbv1 /proc/cpuinfo; then
  echo "this processor has no AVX512-IFMA"
  exit
fi
cc -O1 -o "$scratch/halves" "$scratch/halves.c" -ldl
"$scratch/halves" "$library"
