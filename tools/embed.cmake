# Writes OUTPUT, a C file with the bytes of INPUT as `const char NAME[]` and `NAME_length`. A line
# `from module import ...` is replaced by the text of module.tk, where that lies in INPUT's folder.
file(READ ${INPUT} text)
file(READ ${INPUT} hex HEX)
get_filename_component(folder ${INPUT} DIRECTORY)
string(REGEX MATCHALL "\nfrom [a-z_0-9]+ import [^\n]*" lines "${text}")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "\nfrom ([a-z_0-9]+) import .*" "\\1" module "${line}")
  if(EXISTS ${folder}/${module}.tk)
    file(READ ${folder}/${module}.tk imported HEX)
    string(HEX "${line}" line)
    string(REPLACE "${line}" "0a${imported}" hex "${hex}")
  endif()
endforeach()
set(line "0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <stddef.h>
extern const char ${NAME}[];
extern const size_t ${NAME}_length;
const char ${NAME}[] = {
${bytes}0};
const size_t ${NAME}_length = sizeof ${NAME} - 1;
")
