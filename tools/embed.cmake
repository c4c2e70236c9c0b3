# Writes OUTPUT, a C file with the bytes of INPUT as `const char NAME[]` and `NAME_length`.
#
# A line `from X import ...`, where X.tk lies in the folder of INPUT, is commented out and the text
# of X.tk added at the end: the array needs no files, and lines keep their numbers.
file(READ ${INPUT} HEX_TEXT HEX)
file(READ ${INPUT} text)
get_filename_component(folder ${INPUT} DIRECTORY)
string(REGEX MATCHALL "\nfrom [a-z_0-9]+ import [^\n]*" imports "${text}")
set(modules)
foreach(import ${imports})
  string(REGEX REPLACE "\nfrom ([a-z_0-9]+) import .*" "\\1" module "${import}")
  if(EXISTS ${folder}/${module}.tk)
    string(SUBSTRING "${import}" 1 -1 line)
    string(HEX "${line}" line)
    string(REPLACE "${line}" "23${line}" HEX_TEXT "${HEX_TEXT}")
    list(APPEND modules ${module})
  endif()
endforeach()
list(REMOVE_DUPLICATES modules)
foreach(module ${modules})
  file(READ ${folder}/${module}.tk more HEX)
  string(APPEND HEX_TEXT "${more}")
endforeach()
set(line "0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${HEX_TEXT}")
string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <stddef.h>
extern const char ${NAME}[];
extern const size_t ${NAME}_length;
const char ${NAME}[] = {
${bytes}0};
const size_t ${NAME}_length = sizeof ${NAME} - 1;
")
