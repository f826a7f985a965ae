/* vpn.py for programs that are not in Python: what the apps for iOS and OpenHarmony call. */
#ifndef VPN_H
#define VPN_H

typedef struct vpn vpn;

/* Start Python, if it does not run in this process yet: its home (with lib/python3.x), and the
 * folder of vpn.py and the package aiotun. Returns NULL, or what is wrong: free it. */
char *vpn_start_python(const char *home, const char *folder);

/* A VPN that is not running yet; NULL and a reason (free it) if Python refuses. */
vpn *vpn_new(const char *host, int port, const char *name, const char *certificate, char **reason);

/* Carry packets until the VPN ends, and return why: free it. `fd` is the TUN's; -1 looks for the
 * utun of a Network Extension. */
char *vpn_run(vpn *self, int fd, int mtu);

/* End it, from any thread; `vpn_run` then returns "". */
void vpn_stop(vpn *self);

/* Once `vpn_run` has returned, and nobody calls `vpn_stop` any more. */
void vpn_free(vpn *self);

#endif
