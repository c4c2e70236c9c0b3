/* fuzz_ptx.c: libFuzzer over the PTX parser and decoder; what loads is also run a little, since a
 * kernel may do anything and must still only ever end in a fault.
 *
 *     clang -fsanitize=fuzzer,address,undefined ... && ./fuzz_ptx CORPUS tests/emu
 */
#include "runtime/emu/emu.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(Arena *arena, const EmuEntry *entry) {
    static uint8_t memory[4096], parameters[4096];
    if (entry->parameter_size > sizeof parameters) return;
    EmuBuffer buffer = {
        .address = EMU_BUFFER_ADDRESS(0), .size = sizeof memory, .data = memory, .name = "memory"};
    uint64_t pointer = buffer.address;
    for (size_t i = 0; i < sizeof parameters; i += 8) memcpy(parameters + i, &pointer, 8);
    EmuLaunch launch = {.grid = {2, 1, 1},
                        .block = {64, 1, 1},
                        .parameters = parameters,
                        .buffers = &buffer,
                        .buffer_count = 1,
                        .checks = EMU_CHECK_ALL,
                        .threads = 1,
                        .counters = true,
                        .instruction_limit = 2000};
    for (int i = 0; i < 3; i++)
        if (entry->required_block[i]) launch.block[i] = entry->required_block[i];
    EmuResult result;
    emu_launch(arena, entry, &launch, &result);
    launch.checks = EMU_CHECK_GLOBAL; /* once more without anything in the way */
    launch.seed = 7;
    emu_launch(arena, entry, &launch, &result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Arena arena;
    jmp_buf exhausted;
    arena_init(&arena, (size_t)256 << 20);
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    arena.on_exhausted = &exhausted;
    if (!setjmp(exhausted)) {
        Sources sources = {.arena = &arena};
        Diagnostics diagnostics = {.arena = &arena, .sources = &sources};
        uint32_t source = sources_add(&sources, "fuzz.ptx", text, size);
        EmuModule *module = emu_load(&arena, &diagnostics, source);
        for (uint32_t i = 0; module && i < emu_entry_count(module) && i < 4; i++)
            run(&arena, emu_entry(module, i));
        Text messages = {.arena = &arena};
        diag_render(&diagnostics, &messages);
    }
    arena_free(&arena);
    free(text);
    return 0;
}
