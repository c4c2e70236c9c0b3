/* tkc_cubin.c: runs ptxas on a file in a folder of its own, which goes away afterwards. */
#include "tools/tkc_cubin.h"

#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool run(const char *program, char *const *arguments, int *exit_status) {
    pid_t child;
    if (posix_spawnp(&child, program, NULL, NULL, arguments, environ) != 0) return false;
    int status;
    while (waitpid(child, &status, 0) != child) continue;
    *exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    return *exit_status != 127; /* some systems find out late that there is no such program */
}

static ExitStatus assemble(Arena *arena, const char *folder, const char *target) {
    char *arguments[] = {"ptxas",
                         arena_printf(arena, "-arch=%s", target),
                         "-o",
                         arena_printf(arena, "%s/cubin", folder),
                         arena_printf(arena, "%s/ptx", folder),
                         NULL};
    const char *given = getenv("PTXAS");
    const char *const programs[] = {given && *given ? given : "ptxas",
                                    given && *given ? NULL : "/usr/local/cuda/bin/ptxas"};
    int exit_status = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(programs) && programs[i]; i++)
        if (run(programs[i], arguments, &exit_status))
            return exit_status ? STATUS_REFUSED : STATUS_DONE;
    tool_error("--emit=cubin needs ptxas, a part of the CUDA toolkit, and it is not installed. "
               "--emit=ptx needs nothing, and the driver takes it as it is");
    return STATUS_REFUSED;
}

ExitStatus cubin_from_ptx(Arena *arena, const char *ptx, size_t ptx_size, const char *target,
                          const char **cubin, size_t *cubin_size) {
    const char *temporary = getenv("TMPDIR");
    char *folder =
        arena_printf(arena, "%s/tkc-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(folder)) {
        tool_error("no folder can be made in %s for the files of ptxas", folder);
        return STATUS_REFUSED;
    }
    const char *input = arena_printf(arena, "%s/ptx", folder);
    const char *output = arena_printf(arena, "%s/cubin", folder);
    ExitStatus status = tool_write_file(input, ptx, ptx_size) ? STATUS_DONE : STATUS_REFUSED;
    if (status == STATUS_DONE) status = assemble(arena, folder, target);
    if (status == STATUS_DONE) {
        *cubin = tool_read_file(arena, output, cubin_size);
        if (!*cubin) status = STATUS_REFUSED;
    }
    unlink(input);
    unlink(output);
    rmdir(folder);
    return status;
}
