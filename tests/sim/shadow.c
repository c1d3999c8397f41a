/* SPDX-License-Identifier: MPL-2.0 */
/* shadow.c - the one look into the core's inside: records onto a core without deciding anything. */
#include "tests/sim/shadow.h"

#include "broker/core/impl.h"

void shadow_apply(struct core *core, const struct record *r)
{
    core_apply(core, r);
}
