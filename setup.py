"""The native module, which the package does without where it does not compile."""

from glob import glob

from setuptools import Extension, setup

native = Extension(
    "aiotun.native._native",
    sources=["aiotun/native/src/module.c"],
    depends=glob("aiotun/native/src/*.h"),
    extra_compile_args=["-std=c11", "-O3"],
    optional=True,
)

setup(ext_modules=[native])
