/* launch_target.c: prints the target of the first GPU ("sm_90a") and, in a second line, what it is.
 */
#include "runtime/tkc.h"

#include <stdio.h>
#include <string.h>

int main(void) {
    tkc_context *context;
    tkc_device *device;
    if (tkc_context_create(NULL, &context) || tkc_device_open(context, "cuda", &device))
        return fprintf(stderr, "%s\n", tkc_last_error()), 3;
    puts(tkc_device_target(device));
    tkc_device_info info = TKC_DEVICE_INFO_INIT;
    for (uint32_t i = 0; i < tkc_device_count(context); i++)
        if (tkc_device_describe(context, i, &info) == TKC_OK &&
            strcmp(info.name, tkc_device_name(device)) == 0)
            puts(info.description);
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    return 0;
}
