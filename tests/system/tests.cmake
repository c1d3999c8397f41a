# SPDX-License-Identifier: MPL-2.0
# test_NAME.py is the ctest case system/NAME. Debian's Python is preferred, because python3-zmq
# belongs to it and not to another one that may come first in PATH.
find_program(STINT_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(STINT_PYTHON NAMES python3)
execute_process(COMMAND ${STINT_PYTHON} -c "import zmq" RESULT_VARIABLE zmq_missing
                OUTPUT_QUIET ERROR_QUIET)
file(GLOB system_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/test_*.py)
foreach(system_file ${system_files})
    get_filename_component(system_name ${system_file} NAME_WE)
    string(REGEX REPLACE "^test_" "" system_name ${system_name})
    add_test(NAME system/${system_name} COMMAND ${STINT_PYTHON} -B ${system_file})
    set_tests_properties(system/${system_name} PROPERTIES
        ENVIRONMENT "STINT_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};STINT_SOURCE=${CMAKE_SOURCE_DIR}"
        SKIP_RETURN_CODE 77)
endforeach()
if(zmq_missing)
    message(WARNING "${STINT_PYTHON} has no zmq module; the system tests need python3-zmq")
endif()
