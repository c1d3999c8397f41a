/* SPDX-License-Identifier: MPL-2.0 */
/* tree.h - find and signal all descendants of this process by reading /proc.
 *
 * The caller is a subreaper, so whatever its children start stays below it: a process whose parent
 * ends becomes the caller's child, in whatever session or process group it is. The caller must be
 * the only one that reaps its children, and must not do so during a call. */
#ifndef STINT_WORKER_KEEPER_TREE_H
#define STINT_WORKER_KEEPER_TREE_H

#include <sys/types.h>

#include "common/base/base.h"

/* Sends `signal_number` (0: none) to every living descendant, except the children named in `spare`
 * and all below them. SIGTERM is followed by SIGCONT, so that stopped processes hear it. Returns
 * how many descendants outside of `spare` there are, zombies included; -1 where /proc cannot be
 * read. 0 is certain: nothing was left when the call began. A process that forks during the call
 * may have escaped the signal, so killing means repeating until nothing is left. */
int tree_signal(int signal_number, const pid_t *spare, size_t spare_count);

#endif
