/* launch_target.c: prints the target of the first GPU ("sm_90a"). */
#include "runtime/tkc.h"

#include <stdio.h>

int main(void) {
    tkc_context *context;
    tkc_device *device;
    if (tkc_context_create(NULL, &context) || tkc_device_open(context, "cuda", &device))
        return fprintf(stderr, "%s\n", tkc_last_error()), 3;
    puts(tkc_device_target(device));
    tkc_device_destroy(device);
    tkc_context_destroy(context);
    return 0;
}
