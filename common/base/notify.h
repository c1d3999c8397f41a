/* SPDX-License-Identifier: MPL-2.0 */
/* notify.h - tells a service manager how the program is (sd_notify(3), without its library). */
#ifndef STINT_COMMON_BASE_NOTIFY_H
#define STINT_COMMON_BASE_NOTIFY_H

/* Sends "READY=1", "STOPPING=1", … to $NOTIFY_SOCKET; does nothing where that is not set. Never
 * blocks; failures are ignored, as sd_notify's are by its callers. */
void notify_send(const char *state);

#endif
