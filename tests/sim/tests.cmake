# SPDX-License-Identifier: MPL-2.0
file(GLOB sim_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.c)
add_executable(sim ${sim_sources})
target_link_libraries(sim PRIVATE broker_ingress broker_egress broker_core worker_pool stint_session
                                  stint_proto stint_base)
set_target_properties(sim PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME sim/2000-seeds
         COMMAND sim --seeds 2000 --scenarios ${CMAKE_CURRENT_LIST_DIR}/seeds.txt)
