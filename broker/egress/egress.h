/* SPDX-License-Identifier: MPL-2.0 */
/* egress.h - an effect in, one message out: the only place that words the broker's replies.
 *
 * Pure: reads the effect and its own configuration, makes a struct outmsg. Bodies are shared, not
 * copied. The route (routing id, envelope) stays in effect.caller for the driver. */
#ifndef STINT_BROKER_EGRESS_EGRESS_H
#define STINT_BROKER_EGRESS_EGRESS_H

#include "broker/core/effect.h"

/* What HELLO and STATUS tell beside the core's own words. Texts are borrowed for the whole life. */
struct egress_config {
    const char *version;
    const char *store_url;
    const char *control;   /* address of the control socket */
    uint16_t workers_port; /* 0 on ipc */
    uint16_t results_port;
};

/* Encodes an effect that is a message (all but QUERY, NOTE, EXIT). *m is the caller's to fini. */
void egress_encode(const struct egress_config *c, const struct effect *f, struct outmsg *m);

#endif
