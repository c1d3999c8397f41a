/* SPDX-License-Identifier: MPL-2.0 */
/* notify.h - words to a service manager (the protocol of sd_notify(3)), where one listens. */
#ifndef STINT_WORKER_NOTIFY_H
#define STINT_WORKER_NOTIFY_H

#include "common/base/base.h"

/* Sends a text such as "READY=1" to $NOTIFY_SOCKET; does nothing without one. Never blocks. */
void notify_send(const char *text);

#endif
