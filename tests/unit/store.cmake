# SPDX-License-Identifier: MPL-2.0
add_library(store_help STATIC unit/store_help.c)
target_link_libraries(store_help PUBLIC broker_store PkgConfig::CMOCKA)
stint_unit_test(store_model store_help)
