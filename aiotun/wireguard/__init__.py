"""WireGuard: its protocol without I/O in `core`, and an interface of it on a TUN device."""
