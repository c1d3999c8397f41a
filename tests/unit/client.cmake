# SPDX-License-Identifier: MPL-2.0
# The tool's files are tested without its main; the library with a broker played by the test.
file(GLOB client_cli_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/client/cli/*.c)
list(REMOVE_ITEM client_cli_files ${CMAKE_SOURCE_DIR}/client/cli/main.c)
add_library(client_cli_parts STATIC EXCLUDE_FROM_ALL ${client_cli_files})
target_include_directories(client_cli_parts PUBLIC ${CMAKE_SOURCE_DIR}/client/include)
target_link_libraries(client_cli_parts PUBLIC stint_client stint_conf PkgConfig::JANSSON)

stint_unit_test(client_ids client_cli_parts)
stint_unit_test(client_items client_cli_parts)
stint_unit_test(client_cli client_cli_parts)
stint_unit_test(client_address client_cli_parts)
stint_unit_test(client_lib client_cli_parts PkgConfig::ZMQ)
