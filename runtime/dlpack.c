/* dlpack.c: tensors of other libraries as launch arguments.
 *
 * A kernel takes strides as arguments of its own, so all it needs of a DLTensor is the address of
 * its first element. The rest is checked: where it lives, what its elements are, and from shape
 * and strides how many bytes may be touched, which is what a checking device holds accesses to.
 */
#include "runtime/device.h"

#include <dlpack/dlpack.h>
#include <stdio.h>
#include <string.h>

enum { MOST_DIMENSIONS = 64 };

/* Codes that later versions of DLPack added; older headers lack the names. */
enum { CODE_BOOL = 6, CODE_F8E4M3FN = 10, CODE_F8E5M2 = 12 };

static tkc_dtype dtype_of(DLDataType type) {
    static const tkc_dtype ints[] = {TKC_I8, TKC_I16, TKC_I32, TKC_I64};
    static const tkc_dtype uints[] = {TKC_U8, TKC_U16, TKC_U32, TKC_U64};
    static const tkc_dtype floats[] = {TKC_NONE, TKC_F16, TKC_F32, TKC_F64};
    int log = type.bits == 8 ? 0 : type.bits == 16 ? 1 : type.bits == 32 ? 2 : 3;
    if (type.lanes != 1 || type.bits != 8 << log) return TKC_NONE;
    switch (type.code) {
    case kDLInt: return ints[log];
    case kDLUInt: return uints[log];
    case kDLFloat: return floats[log];
    case kDLBfloat: return type.bits == 16 ? TKC_BF16 : TKC_NONE;
    case CODE_BOOL: return type.bits == 8 ? TKC_I1 : TKC_NONE;
    case CODE_F8E4M3FN: return type.bits == 8 ? TKC_F8E4M3 : TKC_NONE;
    case CODE_F8E5M2: return type.bits == 8 ? TKC_F8E5M2 : TKC_NONE;
    default: return TKC_NONE;
    }
}

static const char *type_name(DLDataType type, char *buffer, size_t size) {
    static const char *const names[] = {"int",    "uint",    "float", "handle",
                                        "bfloat", "complex", "bool"};
    const char *name = type.code < RT_LENGTH(names) ? names[type.code] : "type code ";
    if (type.code < RT_LENGTH(names))
        snprintf(buffer, size, "%s%u", name, type.bits);
    else
        snprintf(buffer, size, "%s%u with %u bits", name, type.code, type.bits);
    size_t used = strlen(buffer);
    if (type.lanes != 1) snprintf(buffer + used, size - used, " in groups of %u", type.lanes);
    return buffer;
}

static const char *place_name(DLDevice device, char *buffer, size_t size) {
    static const char *const names[] = {[kDLCPU] = "kDLCPU",
                                        [kDLCUDA] = "kDLCUDA",
                                        [kDLCUDAHost] = "kDLCUDAHost",
                                        [kDLROCM] = "kDLROCM",
                                        [kDLMetal] = "kDLMetal",
                                        [kDLVulkan] = "kDLVulkan",
                                        [kDLCUDAManaged] = "kDLCUDAManaged"};
    unsigned type = (unsigned)device.device_type;
    if (type < RT_LENGTH(names) && names[type])
        snprintf(buffer, size, "%s:%d", names[type], device.device_id);
    else
        snprintf(buffer, size, "DLPack device type %u:%d", type, device.device_id);
    return buffer;
}

/* Elements from the first to the last one, both counted. */
static tkc_status extent_of(const ArgumentPlace *place, const DLTensor *tensor, uint64_t *extent) {
    bool empty = false, overflow = false;
    uint64_t last = 0, compact = 1;
    for (int i = tensor->ndim; i-- > 0;) {
        int64_t shape = tensor->shape[i];
        int64_t stride = tensor->strides ? tensor->strides[i] : (int64_t)compact;
        if (shape < 0)
            return rt_fail_argument(place, "the DLTensor's shape[%d] is %lld.", i,
                                    (long long)shape);
        if (tensor->strides && stride < 0 && shape > 1)
            return rt_fail_argument(place,
                                    "the DLTensor's strides[%d] is %lld; negative strides are not "
                                    "supported, pass a tensor whose data is its lowest address.",
                                    i, (long long)stride);
        empty |= shape == 0;
        uint64_t step;
        if (shape > 1) {
            overflow |= __builtin_mul_overflow((uint64_t)(shape - 1), (uint64_t)stride, &step);
            overflow |= __builtin_add_overflow(last, step, &last);
        }
        overflow |= __builtin_mul_overflow(compact, (uint64_t)shape, &compact);
        overflow |= compact > INT64_MAX;
    }
    *extent = empty ? 0 : last + 1;
    if (empty || (!overflow && *extent < UINT64_MAX / 16)) return TKC_OK;
    return rt_fail_argument(place,
                            "the DLTensor's shape and strides span more memory than there is.");
}

bool rt_dtype_fits(tkc_dtype wanted, tkc_dtype given) {
    if (given == TKC_NONE || given == wanted) return true;
    bool byte = given == TKC_U8 || given == TKC_I8;
    switch (wanted) {
    case TKC_NONE: return given == TKC_U64 || given == TKC_I64; /* pointers to pointers */
    case TKC_I1:
    case TKC_F8E4M3:
    case TKC_F8E5M2:
    case TKC_F8E4M3B15: return byte; /* many libraries have no such types */
    default: return false;
    }
}

tkc_status rt_take_dltensor(const ArgumentPlace *place, const tkc_device *device,
                            const void *dltensor, tkc_dtype wanted, DeviceTensor *taken) {
    const DLTensor *tensor = dltensor;
    char text[64];
    if (!tensor) return rt_fail_argument(place, "the DLTensor is NULL.");
    if (tensor->ndim < 0 || tensor->ndim > MOST_DIMENSIONS || (tensor->ndim && !tensor->shape))
        return rt_fail_argument(place, "the DLTensor has ndim %d%s; it does not look like one.",
                                tensor->ndim, tensor->shape ? "" : " and no shape");
    if (!device->kind->accepts(device, (int)tensor->device.device_type, tensor->device.device_id))
        return rt_fail_argument(
            place,
            "the DLTensor is on %s, memory that device `%s` cannot use. Copy it "
            "first.",
            place_name(tensor->device, text, sizeof text), device->name);
    tkc_dtype dtype = dtype_of(tensor->dtype);
    if (dtype == TKC_NONE || !rt_dtype_fits(wanted, dtype))
        return rt_fail_argument(place, "the DLTensor holds %s, not %s.",
                                type_name(tensor->dtype, text, sizeof text),
                                wanted ? tkc_dtype_name(wanted) : "64-bit addresses");
    uint64_t extent = 0;
    tkc_status status = extent_of(place, tensor, &extent);
    if (status) return status;
    if (!tensor->data && extent)
        return rt_fail_argument(place, "the DLTensor has elements but its data is NULL.");
    taken->data = tensor->data ? (char *)tensor->data + tensor->byte_offset : NULL;
    taken->size = extent * tkc_dtype_size(dtype);
    return TKC_OK;
}
