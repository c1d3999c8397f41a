# SPDX-License-Identifier: MPL-2.0
# Fuzz targets. With STINT_FUZZ (clang) they are libFuzzer programs; in every build the seeds of
# tests/fuzz/corpus are replayed by a plain main, so that a fixed finding stays fixed.

# stint_fuzz(NAME LIBS...): tests/fuzz/fuzz_NAME.c
function(stint_fuzz name)
    if(STINT_FUZZ)
        add_executable(fuzz_${name} fuzz/fuzz_${name}.c fuzz/input.c)
        target_compile_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
        set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    else()
        add_executable(fuzz_${name} fuzz/fuzz_${name}.c fuzz/input.c fuzz/replay.c)
        set_target_properties(fuzz_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
        add_test(NAME fuzz/${name} COMMAND fuzz_${name} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
    endif()
    target_link_libraries(fuzz_${name} PRIVATE ${ARGN})
endfunction()

stint_fuzz(message stint_proto)
stint_fuzz(header stint_proto)
stint_fuzz(broker broker_ingress broker_core broker_egress)
stint_fuzz(worker worker_pool)
