# SPDX-License-Identifier: MPL-2.0
# The simulator, and mutants of it: binaries in which one patched source takes the place of the
# archive's member, so that a planted bug proves that the simulator would see a real one.
file(GLOB sim_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.c)
set(sim_libraries broker_ingress broker_egress broker_core worker_pool stint_session stint_proto
    stint_base)
add_library(sim_objects OBJECT ${sim_sources})
target_link_libraries(sim_objects PRIVATE ${sim_libraries})
add_executable(sim $<TARGET_OBJECTS:sim_objects>)
target_link_libraries(sim PRIVATE ${sim_libraries})
set_target_properties(sim PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_test(NAME sim/2000-seeds
         COMMAND sim --seeds 2000 --scenarios ${CMAKE_CURRENT_LIST_DIR}/seeds.txt)

function(sim_mutant patch)
    get_filename_component(name ${patch} NAME_WE)
    file(STRINGS ${patch} heads REGEX "^--- a/")
    foreach(head ${heads})
        string(REGEX REPLACE "^--- a/" "" source ${head})
        set(output ${CMAKE_BINARY_DIR}/tests/mutants/${name}/${source})
        add_custom_command(
            OUTPUT ${output}
            COMMAND ${CMAKE_COMMAND} -DTOOL=${PATCH_TOOL} -DPATCH=${patch} -DNAME=${source}
                    -DSOURCE=${CMAKE_SOURCE_DIR}/${source} -DOUTPUT=${output}
                    -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/mutate.cmake
            DEPENDS ${patch} ${CMAKE_SOURCE_DIR}/${source}
                    ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/mutate.cmake
            VERBATIM)
        list(APPEND outputs ${output})
    endforeach()
    add_executable(sim-mutant-${name} $<TARGET_OBJECTS:sim_objects> ${outputs})
    target_link_libraries(sim-mutant-${name} PRIVATE ${sim_libraries})
    set_target_properties(sim-mutant-${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                                        ${CMAKE_BINARY_DIR}/tests/mutants)
    add_test(NAME sim/mutant-${name}
             COMMAND sim-mutant-${name} --expect-failure --seeds 2000
                     --scenarios ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/seeds.txt)
endfunction()

find_program(PATCH_TOOL patch)
if(PATCH_TOOL)
    file(GLOB mutants CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/mutants/*.patch)
    foreach(mutant ${mutants})
        sim_mutant(${mutant})
    endforeach()
else()
    message(STATUS "no patch(1): the simulator's mutants are not built")
endif()
