"""MODELS of the drivers of FreeBSD, NetBSD, OpenBSD and macOS: nothing here is the real thing.

They were written from these systems' headers, manual pages and sources, and NetBSD's from what its
kernel answered when it was run as a rump kernel. A model stands in the place of the system calls
(`aiotun.platforms.bsd.kernel.Kernel`): it keeps the state of interfaces, answers ioctls by number
and struct, refuses what the real one refuses, and passes packets through real descriptors.
"""
