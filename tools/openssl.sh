#!/bin/sh
# OpenSSL's libcrypto for wheels, whose module for encryption brings its own: static, its symbols
# hidden, without what the two ciphers do not take. It loads no file: neither settings nor modules.
#
# tools/openssl.sh fetch   the source, by cargo, which checks it against tools/openssl/Cargo.lock
# tools/openssl.sh build   build/openssl/libcrypto.a and build/openssl/include, by CC, AR and RANLIB
set -eu
cd "$(dirname "$0")/.."

case $1 in
fetch)
  rm -rf build/openssl build/vendor
  cargo vendor --locked --quiet --manifest-path tools/openssl/Cargo.toml build/vendor >/dev/null
  mkdir -p build
  mv build/vendor/openssl-src/openssl build/openssl
  rm -rf build/vendor
  ;;
build)
  cd build/openssl
  CFLAGS="${CFLAGS:-} -O3 -g0 -fPIC -fvisibility=hidden" perl Configure --openssldir=/etc/ssl \
    no-shared no-module no-dso no-engine no-legacy no-autoload-config no-apps no-tests no-docs \
    no-tls no-dtls no-quic no-sock no-ui-console no-comp no-cms no-cmp no-ct no-ocsp no-ts no-srp \
    no-ec no-dh no-dsa no-ml-dsa no-ml-kem no-slh-dsa no-sm2 no-sm3 no-sm4 no-aria no-bf \
    no-camellia no-cast no-des no-gost no-idea no-md4 no-mdc2 no-rc2 no-rc4 no-rmd160 no-scrypt \
    no-seed no-siphash no-argon2 no-whirlpool >/dev/null
  make -s -j"$(getconf _NPROCESSORS_ONLN)" build_generated libcrypto.a
  ;;
esac
