/* cuda_driver.h: the CUDA driver, found when the program runs.
 *
 * The library is opened by name, so that a program built here runs on machines without a driver and
 * is told that there is none. Types and numbers are cuda.def's; nothing of a GPU toolkit is needed
 * to build.
 */
#ifndef TKC_RUNTIME_CUDA_DRIVER_H
#define TKC_RUNTIME_CUDA_DRIVER_H

#include "runtime/internal.h"

#define CUDA_TYPE(name, definition) typedef definition name;
#include "runtime/cuda.def"

enum {
#define CUDA_CONSTANT(name, value) name = value,
#include "runtime/cuda.def"
};

#include "runtime/cuda_structs.h"

typedef struct CudaDriver {
    int device_count; /* 0: `reason` says why */
    int version;      /* 12040: CUDA 12.4 */
    char reason[192];
    CUresult found; /* what cuInit said */
#define CUDA_ENTRY(need, name, parameters) CUresult(*name) parameters;
#include "runtime/cuda.def"
} CudaDriver;

/* The context's driver, opened by the first who asks; NULL when out of memory. It can be used when
 * device_count is not 0. */
const CudaDriver *cuda_driver(tkc_context *context);
/* TKC_OK, or fails with what was tried ("copy to buffer `x`") and the driver's words. An error of a
 * kernel that ran is TKC_LAUNCH_FAULT and kept for tkc_last_fault. */
tkc_status cuda_check(const CudaDriver *driver, CUresult result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
