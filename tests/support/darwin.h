/* netinet/in_var.h, netinet6/in6_var.h, net/if_fake_var.h, sys/sys_domain.h, sys/socket_private.h as in xnu. */
struct in6_addrlifetime { long ia6t_expire, ia6t_preferred; unsigned ia6t_vltime, ia6t_pltime; };
struct in6_aliasreq {
    char ifra_name[16];
    struct sockaddr_in6 ifra_addr, ifra_dstaddr, ifra_prefixmask;
    int ifra_flags;
    struct in6_addrlifetime ifra_lifetime;
};
struct in6_ifreq {
    char ifr_name[16];
    union { struct sockaddr_in6 ifru_addr; unsigned long long stats[34]; } ifr_ifru;
};
struct if_fake_request {
    unsigned long long iffr_reserved[4];
    union { char buf[128]; char peer_name[16]; } iffr_u;
};
#define iffr_peer_name iffr_u.peer_name
#define SIOCAIFADDR_IN6 _IOW('i', 26, struct in6_aliasreq)
#define SIOCDIFADDR_IN6 _IOW('i', 25, struct in6_ifreq)
#define IN6_IFF_NODAD 0x20
#define ND6_INFINITE_LIFETIME 0xffffffff
#define IF_FAKE_S_CMD_SET_PEER 1
#define IF_FAKE_G_CMD_GET_PEER 1
#define SYSPROTO_CONTROL 2
#define AF_SYS_CONTROL 2
struct msghdr_x {
    void *msg_name;
    socklen_t msg_namelen;
    struct iovec *msg_iov;
    int msg_iovlen;
    void *msg_control;
    socklen_t msg_controllen;
    int msg_flags;
    size_t msg_datalen;
};
