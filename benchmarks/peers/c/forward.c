/* forward MODE A B: two TUN devices, what comes out of one goes into the other.
 *
 * MODE: offload (super-packets pass through as they are), plain, or two-threads-plain
 * (a thread a direction). What there is to gain at most with epoll or poll, read and
 * write: no packet is looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
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

typedef char Frames[READS][FRAME_MAX];

/* Read so many frames before they are written: many small ones stay in the processor's cache. */
static void pump(int from, int to, int batch, Frames frames)
{
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

struct direction {
    int from, to;
    Frames frames;
};

/* Pass on what comes that way. */
static void *pump_on(void *direction)
{
    struct direction *way = direction;
    struct pollfd from = {.fd = way->from, .events = POLLIN};

    while (poll(&from, 1, -1) >= 0 || errno == EINTR)
        pump(way->from, way->to, READS, way->frames);
    fail("poll");
    return NULL;
}

int main(int argc, char **argv)
{
    const char *mode = argc == 4 ? argv[1] : "";
    const int offload = !strcmp(mode, "offload"), threads = !strcmp(mode, "two-threads-plain");
    const int batch = offload ? 1 : READS;
    static struct direction there, back;
    int fds[2], epoll;
    pthread_t thread;

    if (!offload && !threads && strcmp(mode, "plain")) {
        fprintf(stderr, "usage: forward offload|plain|two-threads-plain A B\n");
        return 2;
    }
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1");
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

        fds[i] = open_tun(argv[2 + i], offload);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) < 0)
            fail("epoll_ctl");
    }
    puts("ready");
    fflush(stdout);
    if (threads) {
        there.from = back.to = fds[0];
        there.to = back.from = fds[1];
        if (pthread_create(&thread, NULL, pump_on, &back))
            fail("pthread_create");
        pump_on(&there);
    }
    for (;;) {
        struct epoll_event events[2];
        int count = epoll_wait(epoll, events, 2, -1);

        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++)
            pump(fds[events[i].data.u32], fds[!events[i].data.u32], batch, there.frames);
    }
}
