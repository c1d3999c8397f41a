# SPDX-License-Identifier: MPL-2.0
# Copies SOURCE to OUTPUT with the hunks of PATCH that are its own. Where the patch does not fit any
# more the copy stays as it is, with a warning: then the mutant's test fails, not everybody's build.
get_filename_component(folder ${OUTPUT} DIRECTORY)
file(MAKE_DIRECTORY ${folder})
file(READ ${PATCH} text)
string(FIND "${text}" "--- a/${NAME}\n" begin)
string(SUBSTRING "${text}" ${begin} -1 text)
string(LENGTH "--- a/" skip)
string(SUBSTRING "${text}" ${skip} -1 rest)
string(FIND "${rest}" "--- a/" end)
if(NOT end EQUAL -1)
    math(EXPR end "${end} + ${skip}")
    string(SUBSTRING "${text}" 0 ${end} text)
endif()
file(COPY_FILE ${SOURCE} ${OUTPUT})
file(WRITE ${OUTPUT}.patch "${text}")
execute_process(COMMAND ${TOOL} --silent --batch --no-backup-if-mismatch ${OUTPUT} ${OUTPUT}.patch
                RESULT_VARIABLE result)
if(NOT result EQUAL 0)
    message(WARNING "${PATCH} does not fit ${SOURCE} any more")
    file(COPY_FILE ${SOURCE} ${OUTPUT})
endif()
