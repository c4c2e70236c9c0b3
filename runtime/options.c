/* options.c: structs that grow with the library. Each begins with the size its writer knew.
 *
 * An older program gives a shorter struct: the fields it did not know keep their defaults. A newer
 * program gives a longer one: that is fine as long as the fields unknown here are zero.
 */
#include "runtime/internal.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_STRUCT = 4096 };

static tkc_status check_size(uint32_t given, const char *what) {
    if (given >= sizeof(uint32_t) && given <= LARGEST_STRUCT) return TKC_OK;
    return tkc_fail(TKC_INVALID_ARGUMENT,
                    "%s.struct_size is %u, which cannot be. Start the struct from its _INIT macro.",
                    what, given);
}

tkc_status rt_take_options(void *to, size_t size, const void *from, const char *what) {
    if (!from) return TKC_OK;
    uint32_t given;
    memcpy(&given, from, sizeof given);
    tkc_status status = check_size(given, what);
    if (status) return status;
    const unsigned char *bytes = from;
    for (size_t i = size; i < given; i++) {
        if (bytes[i] == 0) continue;
        return tkc_fail(
            TKC_UNSUPPORTED,
            "%s uses a field that this version of the library does not know (byte %zu). "
            "The library is older than the header the program was built with.",
            what, i);
    }
    memcpy(to, from, given < size ? given : size);
    memcpy(to, &(uint32_t){(uint32_t)size}, sizeof(uint32_t));
    return TKC_OK;
}

tkc_status rt_give_struct(void *to, const void *from, size_t size, const char *what) {
    uint32_t given;
    memcpy(&given, to, sizeof given);
    tkc_status status = check_size(given, what);
    if (status) return status;
    size_t count = given < size ? given : size;
    if (count > sizeof given)
        memcpy((char *)to + sizeof given, (const char *)from + sizeof given, count - sizeof given);
    return TKC_OK;
}

char *rt_copy_string(const char *string) {
    return string ? strdup(string) : NULL;
}
