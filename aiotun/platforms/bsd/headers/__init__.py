"""What the systems' C headers declare, as far as this package uses it, under the names of C.

`common` holds what FreeBSD, NetBSD, OpenBSD and macOS have alike; each of them has a module of
its own for the rest. A test asks the systems' own headers for every number, size and offset here.
Fields that begin with an underscore only fill up a struct.
"""
