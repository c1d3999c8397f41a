/* SPDX-License-Identifier: MPL-2.0 */
/* packet.c - see packet.h. A received packet that was cut, or that carries more descriptors than
 * expected, counts as a broken peer: both ends are our own code. */
#include "worker/keeper/packet.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for two packets and their accounting in each direction. */
#define SOCKET_BUFFER_BYTES (4 * 72 * 1024)

union fd_message {
    struct cmsghdr align;
    char data[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)];
};

int packet_pair(int ret_sockets[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_sockets) != 0)
        return -1;
    int bytes = SOCKET_BUFFER_BYTES;
    for (size_t i = 0; i < 2; i++)
        setsockopt(ret_sockets[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return 0;
}

int packet_send(int socket, const struct iovec *parts, size_t part_count, const int *fds,
                size_t fd_count)
{
    union fd_message control;
    struct iovec iov[8];
    if (part_count > ARRAY_SIZE(iov) || fd_count > PACKET_FDS_MAX) {
        errno = EINVAL;
        return -1;
    }
    memcpy(iov, parts, part_count * sizeof *parts);
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = part_count};
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(head), fds, sizeof(int) * fd_count);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return 1;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
}

static size_t take_fds(struct msghdr *message, int ret_fds[PACKET_FDS_MAX])
{
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t there = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < there; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (count < PACKET_FDS_MAX)
                ret_fds[count++] = fd;
            else
                close(fd);
        }
    }
    return count;
}

ssize_t packet_recv(int socket, void *data, size_t bytes_max, int ret_fds[PACKET_FDS_MAX],
                    size_t *ret_fd_count)
{
    union fd_message control;
    struct iovec iov = {.iov_base = data, .iov_len = bytes_max};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    *ret_fd_count = 0;
    ssize_t size;
    do {
        size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
    size_t count = take_fds(&message, ret_fds);
    if (size == 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        for (size_t i = 0; i < count; i++)
            close(ret_fds[i]);
        return -1;
    }
    *ret_fd_count = count;
    return size;
}

static bool write_all(int fd, struct view v)
{
    while (v.size > 0) {
        ssize_t n = write(fd, v.data, v.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        v = view_skip(v, (size_t)n);
    }
    return true;
}

int packet_memfd(const struct view *parts, size_t part_count)
{
    int fd = memfd_create("stint", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    bool ok = true;
    for (size_t i = 0; ok && i < part_count; i++)
        ok = write_all(fd, parts[i]);
    if (!ok || lseek(fd, 0, SEEK_SET) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

bool packet_memfd_read(int fd, void *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = pread(fd, (char *)data + at, size - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}
