# SPDX-License-Identifier: MPL-2.0
add_library(store_help STATIC unit/store_help.c)
target_link_libraries(store_help PUBLIC broker_store PkgConfig::CMOCKA)
stint_unit_test(store_model store_help)
stint_unit_test(store_query store_help)
stint_unit_test(store_fault store_help)

add_executable(store_bench EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/store_bench.c)
target_link_libraries(store_bench PRIVATE broker_store)
