/* SPDX-License-Identifier: MPL-2.0 */
/* unit.h - cmocka with the headers that it needs before it. */
#ifndef STINT_TESTS_UNIT_UNIT_H
#define STINT_TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
