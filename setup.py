"""The native module, which the package does without where it cannot be built."""

import os
from glob import glob

from setuptools import Extension, setup

native = Extension(
    "aiotun.native._native",
    sources=["aiotun/native/src/module.c"],
    depends=glob("aiotun/native/src/*.h"),
    extra_compile_args=["-std=c11", "-O3"],
    optional=True,
)

# It reads and writes descriptors as POSIX has them.
setup(ext_modules=[native] if os.name == "posix" else [])
