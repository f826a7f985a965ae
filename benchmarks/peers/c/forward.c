/* forward MODE A B: two TUN devices, what comes out of one goes into the other.
 *
 * MODE: offload (super-packets pass through as they are) or plain. What there is
 * to gain at most with epoll, read and write: no packet is looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_tun.h>

#ifndef TUN_F_USO4 /* headers before Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum {
    FRAME_MAX = 10 + 65535, /* virtio_net_hdr and the largest packet */
    READS = 64,             /* from one device before the other has its turn */
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int open_tun(const char *name, int offload)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    unsigned int features = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        fail("/dev/net/tun");
    if (offload)
        request.ifr_flags |= IFF_VNET_HDR;
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        fail("TUNSETIFF");
    if (offload && ioctl(fd, TUNSETOFFLOAD, features | TUN_F_USO4 | TUN_F_USO6) < 0 &&
        ioctl(fd, TUNSETOFFLOAD, features) < 0)
        fail("TUNSETOFFLOAD");
    return fd;
}

/* Read so many frames before they are written: many small ones stay in the processor's cache. */
static void pump(int from, int to, int batch)
{
    static char frames[READS][FRAME_MAX];
    ssize_t sizes[READS];
    int count = batch;

    for (int reads = 0; reads < READS && count == batch; reads += batch) {
        count = 0;
        while (count < batch && (sizes[count] = read(from, frames[count], FRAME_MAX)) >= 0)
            count++;
        if (count < batch && errno != EAGAIN)
            fail("read");
        /* A failed write costs its packet, as everywhere: the other interface may be down. */
        for (int i = 0; i < count; i++)
            if (write(to, frames[i], sizes[i]) < 0 && errno != EIO && errno != EINVAL &&
                errno != EAGAIN)
                fail("write");
    }
}

int main(int argc, char **argv)
{
    int fds[2], poll, batch;

    if (argc != 4 || (strcmp(argv[1], "offload") && strcmp(argv[1], "plain"))) {
        fprintf(stderr, "usage: forward offload|plain A B\n");
        return 2;
    }
    batch = strcmp(argv[1], "offload") ? READS : 1;
    if ((poll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1");
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

        fds[i] = open_tun(argv[2 + i], !strcmp(argv[1], "offload"));
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fds[i], &event) < 0)
            fail("epoll_ctl");
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[2];
        int count = epoll_wait(poll, events, 2, -1);

        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++)
            pump(fds[events[i].data.u32], fds[!events[i].data.u32], batch);
    }
}
