# SPDX-License-Identifier: MPL-2.0
stint_unit_test(conf_args stint_conf)
stint_unit_test(conf_load stint_conf)
