"""The native modules, each of which the package does without where it does not compile."""

import runpy
import sys
from glob import glob

from setuptools import Extension, setup

# Of MSVC, or of compilers that take the same options as gcc.
WINDOWS = sys.platform == "win32"
FLAGS = ["/std:c11", "/O2"] if WINDOWS else ["-std=c11", "-O3"]

HEADERS = glob("aiotun/native/src/**/*.h", recursive=True)

# By its path: the package imports what is built here.
checksum = runpy.run_path("aiotun/native/sources.py")["checksum"]

native = Extension(
    "aiotun.native._native",
    sources=["aiotun/native/src/module.c"],
    depends=HEADERS,
    define_macros=[("AIOTUN_SOURCES", checksum("module.c"))],
    extra_compile_args=FLAGS,
    libraries=["ws2_32"] if WINDOWS else [],
    optional=True,
)

aead = Extension(
    "aiotun.native._aead",
    sources=["aiotun/native/src/aead.c"],
    depends=HEADERS,
    define_macros=[("AIOTUN_SOURCES", checksum("aead.c"))],
    # Of OpenSSL 3, whose headers it takes. What is behind it on Windows a static one calls.
    libraries=["libcrypto", "ws2_32", "advapi32", "crypt32", "user32"] if WINDOWS else ["crypto"],
    extra_compile_args=FLAGS if WINDOWS else [*FLAGS, "-D_POSIX_C_SOURCE=200809L"],
    optional=True,
)

setup(ext_modules=[native, aead])
