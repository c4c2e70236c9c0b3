/* cpu_code.h: native code as the CPU device runs it (dev_cpu.c), and where it comes from: an object
 * file that was linked into the program, or the compiler (cpu_code.c), which libtkcrt has not.
 */
#ifndef TKC_RUNTIME_CPU_CODE_H
#define TKC_RUNTIME_CPU_CODE_H

#include "compiler/cpu/native.h"
#include "runtime/cpu_pool.h"
#include "runtime/device.h"

typedef struct CpuVariant {
    CpuEntry *entry;
    uint64_t scratch_size, stored; /* as in CpuNative */
    const CpuSite *sites;
    uint32_t site_count;
    CpuItemTime time; /* of a program */
} CpuVariant;

/* Arguments as a variant that checks sees them, and the memory that they are in. */
typedef struct CpuChecks {
    CpuCheck *check;
    uint64_t *arguments, *plain; /* plain: as the interpreter numbers buffers */
    CpuRange *ranges;
    const char **names;
    uint32_t count;
} CpuChecks;

/* The op of a fault or a print; NULL: not known. */
const CpuSite *cpu_site(const CpuVariant *variant, uint32_t op);
/* The message of an assertion, or of what cannot run, at an element of a block. */
void cpu_say(const CpuSite *site, const CpuFault *fault, const uint32_t *program, char *message,
             size_t size);
/* Where in the op's block the element is. */
void cpu_coordinates(const CpuSite *site, uint64_t element, uint32_t *rank, uint32_t *coordinates);

/* ---- cpu_code.c --------------------------------------------------------------------------- */

typedef struct CpuCompiled CpuCompiled; /* code of a kernel that has a module */

tkc_status cpu_code_new(const tkc_kernel *kernel, CpuVariant *plain, CpuCompiled **compiled);
void cpu_code_free(CpuCompiled *compiled); /* NULL too */
/* The variant that checks every access (made when it is first asked for), and its arguments. */
tkc_status cpu_code_checked(CpuCompiled *compiled, const tkc_kernel *kernel,
                            const DeviceLaunch *launch, CpuVariant **variant, CpuChecks *checks);
void cpu_code_end(CpuChecks *checks);
/* Reports a fault, with the line of the source. `checks`: of the launch, or NULL. */
tkc_status cpu_code_report(const CpuCompiled *compiled, const tkc_kernel *kernel,
                           const CpuVariant *variant, const CpuChecks *checks,
                           const uint32_t *program, const CpuFault *fault);

#endif
