/* SPDX-License-Identifier: MPL-2.0 */
/* interrupt.h - INT, TERM and HUP as something that can be waited for. Only for commands that wait;
 * the others keep the default action. */
#ifndef STINT_CLIENT_CLI_INTERRUPT_H
#define STINT_CLIENT_CLI_INTERRUPT_H

/* Installs the handlers; returns a descriptor that is readable when a signal came, or -1. */
int interrupt_setup(void);
/* The next signal that came, or 0. */
int interrupt_take(void);

#endif
