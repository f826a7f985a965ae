/* Control messages: see cmsg.py. */

#pragma once

#include <Python.h>

#include <netinet/udp.h>

#include "address.h"

/* linux/udp.h */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

typedef struct {
    int segment, ecn;
    PyObject *local; /* an owned reference; NULL if it could not be made */
} Described;

static Described
udp_describe(Kept *kept, struct msghdr *message)
{
    Described found = {0, 0, NULL};
    struct in6_addr local;
    int family = 0;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each;
         each = CMSG_NXTHDR(message, each)) {
        const uint8_t *data = CMSG_DATA(each);
        const size_t size = each->cmsg_len - CMSG_LEN(0);
        if (each->cmsg_level == IPPROTO_UDP && each->cmsg_type == UDP_GRO && size >= sizeof(int))
            memcpy(&found.segment, data, sizeof(int));
        else if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_TOS && size)
            found.ecn = data[0] & 3;
        else if (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_TCLASS &&
                 size >= sizeof(int)) {
            memcpy(&found.ecn, data, sizeof(int));
            found.ecn &= 3;
        }
        else if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO && size >= 12) {
            memcpy(&local, data + 4, 4); /* in_pktinfo.ipi_spec_dst */
            family = AF_INET;
        }
        else if (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_PKTINFO &&
                 size >= 20) {
            memcpy(&local, data, 16); /* in6_pktinfo.ipi6_addr */
            family = AF_INET6;
        }
    }
    found.local = family ? udp_local(kept, family, &local) : Py_NewRef(Py_None);
    return found;
}

/* Room for the control messages of one that is sent. */
typedef union {
    struct cmsghdr aligned;
    uint8_t bytes[CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(struct in6_pktinfo)) +
                  CMSG_SPACE(sizeof(int))];
} Control;

/* Add a control message behind the others. Return where its bytes go, which the caller fills in. */
static void *
udp_add_control(struct msghdr *header, int level, int type, size_t size)
{
    struct cmsghdr *control =
        (struct cmsghdr *)((uint8_t *)header->msg_control + header->msg_controllen);
    header->msg_controllen += CMSG_SPACE(size);
    memset(control, 0, CMSG_SPACE(size));
    control->cmsg_len = CMSG_LEN(size);
    control->cmsg_level = level;
    control->cmsg_type = type;
    return CMSG_DATA(control);
}

/* See encode in cmsg.py. */
static bool
udp_write_control(struct msghdr *header, Control *control, bool v4, PyObject *local, int ecn,
                  Py_ssize_t segment)
{
    header->msg_control = control->bytes;
    if (segment) {
        const uint16_t size = (uint16_t)segment;
        memcpy(udp_add_control(header, IPPROTO_UDP, UDP_SEGMENT, sizeof size), &size, sizeof size);
    }
    if (ecn) {
        void *data = v4 ? udp_add_control(header, IPPROTO_IP, IP_TOS, sizeof ecn)
                        : udp_add_control(header, IPPROTO_IPV6, IPV6_TCLASS, sizeof ecn);
        memcpy(data, &ecn, sizeof ecn);
    }
    if (local == Py_None)
        return true;
    if (v4) {
        struct in_pktinfo *info =
            udp_add_control(header, IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo));
        return udp_read_host(AF_INET, local, &info->ipi_spec_dst);
    }
    struct in6_pktinfo *info =
        udp_add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(struct in6_pktinfo));
    return udp_read_host(AF_INET6, local, &info->ipi6_addr);
}
