/* tkc_devices.c: `tkc devices`: what kernels can run on here, and why not on the others. */
#include "tools/tkc_commands.h"
#include "tools/tkc_source.h"

const Option devices_options[] = {{0}};

ExitStatus command_devices(int count, char **arguments) {
    Arena arena;
    TextList others;
    arena_init(&arena, 0);
    bool good =
        options_parse(&arena, "tkc devices", devices_options, NULL, count, arguments, &others);
    if (good && others.count) {
        tool_error("tkc devices takes no arguments, not `%s`", others.items[0]);
        good = false;
    }
    arena_free(&arena);
    if (!good) return STATUS_USAGE;
    tkc_context *context = source_context();
    if (!context) return STATUS_REFUSED;
    for (uint32_t i = 0; i < tkc_device_count(context); i++) {
        tkc_device_info info = TKC_DEVICE_INFO_INIT;
        tkc_status status = tkc_device_describe(context, i, &info);
        if (status != TKC_OK) {
            tkc_context_destroy(context);
            return tool_report(status);
        }
        printf("%-8s  %-3s  %s\n", info.name, info.available ? "yes" : "no",
               info.available ? info.description : info.reason);
    }
    tkc_context_destroy(context);
    return STATUS_DONE;
}
