/* SPDX-License-Identifier: MPL-2.0 */
/* shadow.h - a core that is moved by records alone, to compare with one that was loaded. */
#ifndef STINT_TESTS_SIM_SHADOW_H
#define STINT_TESTS_SIM_SHADOW_H

#include "broker/core/core.h"

void shadow_apply(struct core *core, const struct record *r);

#endif
