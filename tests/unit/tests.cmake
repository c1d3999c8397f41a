# SPDX-License-Identifier: MPL-2.0
# One file per module registers its tests; a new one is picked up by its name.
file(GLOB unit_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cmake)
list(REMOVE_ITEM unit_files ${CMAKE_CURRENT_LIST_FILE})
foreach(unit_file ${unit_files})
    include(${unit_file})
endforeach()
