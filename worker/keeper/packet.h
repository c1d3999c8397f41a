/* SPDX-License-Identifier: MPL-2.0 */
/* packet.h - whole messages with descriptors over a SOCK_SEQPACKET pair between processes of one
 * program.
 *
 * Both ends are forks of one image, so messages are plain structs (message.h) followed by bytes.
 * What does not fit into a packet travels in a sealed memfd. Descriptors are close-on-exec. */
#ifndef STINT_WORKER_KEEPER_PACKET_H
#define STINT_WORKER_KEEPER_PACKET_H

#include <sys/types.h>
#include <sys/uio.h>

#include "common/base/base.h"
#include "common/base/blob.h"
#include "common/base/view.h"

#define PACKET_BYTES_MAX ((size_t)72 * 1024)
#define PACKET_FDS_MAX 2

/* A connected pair, non-blocking and close-on-exec: 0, or -1 with errno. */
int packet_pair(int ret_sockets[2]);

/* 1: sent. 0: would block. -1: the peer is gone, or errno. */
int packet_send(int socket, const struct iovec *parts, size_t part_count, const int *fds,
                size_t fd_count);

/* Bytes received (> 0). 0: nothing there now. -1: the peer is gone, or broken. *ret_fds are the
 * caller's to close. */
ssize_t packet_recv(int socket, void *data, size_t bytes_max, int ret_fds[PACKET_FDS_MAX],
                    size_t *ret_fd_count);

/* A sealed memfd with these bytes and its offset at 0; -1 with errno. */
int packet_memfd(const struct view *parts, size_t part_count);
/* Reads `size` bytes of a memfd: false where it holds fewer. */
bool packet_memfd_read(int fd, void *data, size_t size);

#endif
