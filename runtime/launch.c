/* launch.c: checks a launch completely, then hands it to the device.
 *
 * Everything that can be known before a program runs is refused here, with the name of the
 * parameter, its type, and what was given. What passes is plain data: one 64-bit word a parameter.
 */
#include "runtime/device.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As many as fit into the 4 KB that a GPU has for them; a launch with no more allocates nothing. */
enum { PARAMETERS_AT_HAND = 512 };

/* The launch while it is checked. */
typedef struct Binding {
    const tkc_kernel *kernel;
    const tkc_device *device;
    DeviceTensor *tensors;
    uint32_t tensor_count;
} Binding;

tkc_status rt_fail_argument(const ArgumentPlace *place, const char *format, ...) {
    char text[4096];
    const tkc_parameter *p = &place->kernel->parameters[place->index];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tkc_fail(TKC_INVALID_ARGUMENT, "Argument %u of kernel `%s`, `%s: %s`: %s",
                    place->index + 1, place->kernel->name, p->name, p->type,
                    length < 0 ? "cannot be used." : text);
}

/* ---- what was given, in words ---------------------------------------------------------------- */

static const char *describe(const tkc_argument *a, char *text, size_t size) {
    const char *dtype = tkc_dtype_name(a->dtype);
    switch (a->kind) {
    case TKC_ARGUMENT_BUFFER:
        snprintf(text, size, "buffer `%s`", tkc_buffer_name(a->value.buffer));
        break;
    case TKC_ARGUMENT_DLTENSOR: snprintf(text, size, "a DLTensor"); break;
    case TKC_ARGUMENT_ADDRESS:
        snprintf(text, size, "the address 0x%llx", (unsigned long long)a->value.u);
        break;
    case TKC_ARGUMENT_INT:
        if (a->dtype == TKC_U64)
            snprintf(text, size, "the integer %llu (%s)", (unsigned long long)a->value.u, dtype);
        else
            snprintf(text, size, "the integer %lld (%s)", (long long)a->value.i, dtype);
        break;
    case TKC_ARGUMENT_FLOAT: snprintf(text, size, "the float %.9g (%s)", a->value.f, dtype); break;
    case TKC_ARGUMENT_BITS:
        snprintf(text, size, "the bits 0x%llx of a %s", (unsigned long long)a->value.u, dtype);
        break;
    default: snprintf(text, size, "nothing (an unset tkc_argument)"); break;
    }
    return text;
}

/* `name: type, name: type`, cut when it does not fit. */
static const char *list_parameters(const tkc_kernel *kernel, uint32_t from, char *text,
                                   size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = from; i < kernel->parameter_count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s`%s: %s`", i > from ? ", " : "",
                                 kernel->parameters[i].name, kernel->parameters[i].type);
    if (used >= size) strcpy(text + size - 4, "...");
    return text;
}

static tkc_status check_count(const tkc_kernel *kernel, uint32_t count) {
    char list[1024], constants[512] = "";
    uint32_t wanted = kernel->parameter_count;
    if (count == wanted) return TKC_OK;
    if (count < wanted)
        return tkc_fail(
            TKC_INVALID_ARGUMENT, "Kernel `%s` takes %u arguments and %u were given. Missing: %s.",
            kernel->name, wanted, count, list_parameters(kernel, count, list, sizeof list));
    size_t used = 0;
    for (const tkc_named *c = kernel->constants; c->name && used < sizeof constants; c++)
        used += (size_t)snprintf(
            constants + used, sizeof constants - used, "%s`%s`",
            c == kernel->constants ? " Fixed at compile time, so not passed: " : ", ", c->name);
    return tkc_fail(TKC_INVALID_ARGUMENT,
                    "Kernel `%s` takes %u arguments and %u were given. It takes: %s.%s%s",
                    kernel->name, wanted, count,
                    wanted ? list_parameters(kernel, 0, list, sizeof list) : "none", constants,
                    used ? "." : "");
}

/* ---- scalars --------------------------------------------------------------------------------- */

static bool is_float(tkc_dtype dtype) {
    return dtype >= TKC_F8E4M3 && dtype <= TKC_F64;
}

static bool is_unsigned(tkc_dtype dtype) {
    return dtype == TKC_I1 || (dtype >= TKC_U8 && dtype <= TKC_U64);
}

static tkc_status take_int(const ArgumentPlace *place, const tkc_parameter *p,
                           const tkc_argument *a, uint64_t *word) {
    char given[96];
    uint32_t bits = p->dtype == TKC_I1 ? 1 : tkc_dtype_size(p->dtype) * 8;
    uint64_t mask = UINT64_MAX >> (64 - bits);
    bool negative = a->dtype != TKC_U64 && a->value.i < 0;
    uint64_t highest = is_unsigned(p->dtype) ? mask : mask >> 1;
    uint64_t lowest = is_unsigned(p->dtype) ? 0 : ~highest; /* as a 64-bit two's complement */
    bool fits = negative ? lowest && (int64_t)a->value.i >= (int64_t)lowest : a->value.u <= highest;
    if (!fits)
        return rt_fail_argument(place, "%s is out of range; %s holds %lld to %llu.",
                                describe(a, given, sizeof given), tkc_dtype_name(p->dtype),
                                (long long)lowest, (unsigned long long)highest);
    if (p->divisibility > 1 && a->value.u % (uint64_t)p->divisibility &&
        (!negative || (0 - a->value.u) % (uint64_t)p->divisibility))
        return rt_fail_argument(
            place,
            "%s is not divisible by %lld, which the kernel's signature promises. "
            "Compile it without that promise, or pass such a value.",
            describe(a, given, sizeof given), (long long)p->divisibility);
    *word = a->value.u & mask;
    return TKC_OK;
}

static tkc_status take_float(const ArgumentPlace *place, const tkc_parameter *p,
                             const tkc_argument *a, uint64_t *word) {
    char given[96];
    double back;
    *word = 0;
    tkc_encode(p->dtype, &a->value.f, word, 1);
    tkc_decode(p->dtype, word, &back, 1);
    /* fp8 types saturate instead: there the largest number stands for what was too large. */
    bool saturated =
        tkc_dtype_size(p->dtype) == 1 && isfinite(back) && fabs(a->value.f) > fabs(back) * 1.0625;
    if (isfinite(a->value.f) ? isfinite(back) && !saturated : !saturated) return TKC_OK;
    return rt_fail_argument(place, "%s is out of range of %s.", describe(a, given, sizeof given),
                            tkc_dtype_name(p->dtype));
}

static tkc_status take_scalar(const ArgumentPlace *place, const tkc_parameter *p,
                              const tkc_argument *a, uint64_t *word) {
    char given[160];
    if (a->kind == TKC_ARGUMENT_INT && !is_float(p->dtype)) return take_int(place, p, a, word);
    if (a->kind == TKC_ARGUMENT_FLOAT && is_float(p->dtype)) return take_float(place, p, a, word);
    if (a->kind == TKC_ARGUMENT_BITS && is_float(a->dtype) && is_float(p->dtype)) {
        bool widens = tkc_dtype_size(p->dtype) > tkc_dtype_size(a->dtype);
        if (a->dtype == p->dtype) {
            *word = a->value.u & (UINT64_MAX >> (64 - 8 * tkc_dtype_size(p->dtype)));
            return TKC_OK;
        }
        if (widens) {
            tkc_argument wide = tkc_arg_f64(0);
            tkc_decode(a->dtype, &a->value.u, &wide.value.f, 1);
            return take_float(place, p, &wide, word);
        }
    }
    if (a->kind == TKC_ARGUMENT_BITS && a->dtype == p->dtype) {
        tkc_argument whole = tkc_arg_u64(a->value.u);
        whole.value.u &= UINT64_MAX >> (64 - 8 * tkc_dtype_size(p->dtype));
        if (!is_unsigned(p->dtype)) {
            uint32_t shift = 64 - 8 * tkc_dtype_size(p->dtype);
            whole = tkc_arg_i64((int64_t)(whole.value.u << shift) >> shift);
        }
        return take_int(place, p, &whole, word);
    }
    const char *advice = "";
    if (a->kind == TKC_ARGUMENT_FLOAT) advice = " An integer is needed: tkc_arg_i32, tkc_arg_i64.";
    if (a->kind == TKC_ARGUMENT_INT) advice = " A float is needed: tkc_arg_f32, tkc_arg_f64.";
    if (a->kind <= TKC_ARGUMENT_ADDRESS) advice = " A number is needed.";
    return rt_fail_argument(place, "%s was given.%s", describe(a, given, sizeof given), advice);
}

/* ---- pointers -------------------------------------------------------------------------------- */

/* `where` is the address as the machine will see it. */
static tkc_status check_alignment(const ArgumentPlace *place, const tkc_parameter *p,
                                  const tkc_argument *a, uint64_t where) {
    char given[160];
    uint32_t size = p->dtype ? tkc_dtype_size(p->dtype) : 8;
    if (where % size)
        return rt_fail_argument(place,
                                "%s starts at 0x%llx, which is not aligned to the %u bytes of an "
                                "element.",
                                describe(a, given, sizeof given), (unsigned long long)where, size);
    if (p->divisibility > 1 && where % (uint64_t)p->divisibility)
        return rt_fail_argument(
            place,
            "%s starts at 0x%llx, which is not divisible by %lld as the kernel's "
            "signature promises. Compile it without that promise, or align the memory.",
            describe(a, given, sizeof given), (unsigned long long)where,
            (long long)p->divisibility);
    return TKC_OK;
}

static tkc_status take_buffer(const Binding *b, const ArgumentPlace *place, const tkc_parameter *p,
                              const tkc_argument *a, uint64_t *word) {
    const tkc_buffer *buffer = a->value.buffer;
    if (!buffer && a->offset == 0) { /* the null pointer */
        *word = 0;
        return TKC_OK;
    }
    if (!buffer)
        return rt_fail_argument(place, "the buffer is NULL but has offset %llu.",
                                (unsigned long long)a->offset);
    if (atomic_load(&buffer->state) != BUFFER_LIVE)
        return rt_fail_argument(place, "the buffer was destroyed.");
    if (buffer->device != b->device)
        return rt_fail_argument(
            place,
            "buffer `%s` belongs to another device (`%s`) than the one the launch "
            "runs on (`%s`). Make it with that device.",
            buffer->name, buffer->device->name, b->device->name);
    if (!rt_dtype_fits(p->dtype, buffer->dtype))
        return rt_fail_argument(place, "buffer `%s` holds %s, not %s.", buffer->name,
                                tkc_dtype_name(buffer->dtype),
                                p->dtype ? tkc_dtype_name(p->dtype) : "64-bit addresses");
    if (a->offset > buffer->size)
        return rt_fail_argument(
            place, "offset %llu is beyond the end of buffer `%s`, which has %llu bytes.",
            (unsigned long long)a->offset, buffer->name, (unsigned long long)buffer->size);
    *word = buffer->address + a->offset;
    /* Borrowed memory may have a virtual address that is aligned better than the memory is. */
    uint64_t where = buffer->borrowed ? (uint64_t)(uintptr_t)buffer->borrowed + a->offset : *word;
    return check_alignment(place, p, a, where);
}

static tkc_status take_pointer(Binding *b, const ArgumentPlace *place, uint32_t index,
                               const tkc_argument *a, uint64_t *word) {
    const tkc_parameter *p = &b->kernel->parameters[index];
    char given[160];
    switch (a->kind) {
    case TKC_ARGUMENT_BUFFER: return take_buffer(b, place, p, a, word);
    case TKC_ARGUMENT_DLTENSOR: {
        DeviceTensor *tensor = &b->tensors[b->tensor_count];
        *tensor = (DeviceTensor){.argument = index};
        tkc_status status = rt_take_dltensor(place, b->device, a->value.dltensor, p->dtype, tensor);
        if (!status) status = check_alignment(place, p, a, (uint64_t)(uintptr_t)tensor->data);
        if (!status) b->tensor_count++;
        *word = 0;
        return status;
    }
    case TKC_ARGUMENT_ADDRESS:
        if (!rt_dtype_fits(p->dtype, a->dtype))
            return rt_fail_argument(place, "%s is said to point at %s.",
                                    describe(a, given, sizeof given), tkc_dtype_name(a->dtype));
        *word = a->value.u;
        return check_alignment(place, p, a, a->value.u);
    default:
        return rt_fail_argument(
            place,
            "%s was given. A pointer is needed: tkc_arg_buffer, tkc_arg_dltensor "
            "or tkc_arg_address.",
            describe(a, given, sizeof given));
    }
}

static tkc_status take_argument(Binding *b, uint32_t index, const tkc_argument *a, uint64_t *word) {
    const tkc_parameter *p = &b->kernel->parameters[index];
    ArgumentPlace place = {b->kernel, index};
    if (a->name && strcmp(a->name, p->name) != 0)
        return rt_fail_argument(
            &place,
            "the argument given here is named `%s`. Arguments are in the order of "
            "the kernel's parameters.",
            a->name);
    return p->is_pointer ? take_pointer(b, &place, index, a, word)
                         : take_scalar(&place, p, a, word);
}

/* ---- the launch ------------------------------------------------------------------------------ */

static tkc_status take_grid(const tkc_kernel *kernel, tkc_grid grid, uint32_t *out) {
    const int64_t given[3] = {grid.x, grid.y, grid.z};
    const int64_t limits[3] = {INT32_MAX, 65535, 65535};
    for (int i = 0; i < 3; i++) {
        if (given[i] < 0 || given[i] > limits[i])
            return tkc_fail(TKC_INVALID_ARGUMENT,
                            "The grid of kernel `%s` is (%lld, %lld, %lld): %c must be 0 to %lld.",
                            kernel->name, (long long)grid.x, (long long)grid.y, (long long)grid.z,
                            "xyz"[i], (long long)limits[i]);
        out[i] = (uint32_t)given[i];
    }
    return TKC_OK;
}

static tkc_status bind_and_run(tkc_kernel *kernel, tkc_device *device, tkc_stream *stream,
                               Binding *binding, DeviceLaunch *launch,
                               const tkc_argument *arguments) {
    for (uint32_t i = 0; i < kernel->parameter_count; i++) {
        tkc_status status = take_argument(binding, i, &arguments[i], &launch->arguments[i]);
        if (status) return status;
    }
    launch->tensor_count = binding->tensor_count;
    launch->given = arguments;
    if (!launch->grid[0] || !launch->grid[1] || !launch->grid[2]) return TKC_OK;
    void *loaded;
    tkc_status status = TKC_OK;
    if (device->kind->may_load && !rt_kernel_find(kernel, device))
        status = device->kind->may_load(device, stream, kernel);
    if (!status) status = rt_kernel_on(kernel, device, &loaded);
    if (status) return status;
    return device->kind->launch(device, stream, kernel, loaded, launch);
}

static double now_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static tkc_status wait_for(tkc_device *device, tkc_stream *stream) {
    return device->kind->synchronize ? device->kind->synchronize(device, stream) : TKC_OK;
}

/* The same, timed, for somebody who wants to know. */
static tkc_status bind_run_and_tell(tkc_kernel *kernel, tkc_device *device, tkc_stream *stream,
                                    Binding *binding, DeviceLaunch *launch,
                                    const tkc_argument *arguments) {
    tkc_status status = wait_for(device, stream);
    if (status) return status;
    double start = now_milliseconds();
    status = bind_and_run(kernel, device, stream, binding, launch, arguments);
    if (!status) status = wait_for(device, stream);
    const tkc_launch_event event = {
        .struct_size = sizeof event,
        .status = status,
        .kernel = kernel->name,
        .device = device->name,
        .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
        .milliseconds = now_milliseconds() - start,
    };
    rt_launched(device->context, &event);
    return status;
}

tkc_status tkc_launch(tkc_kernel *kernel, tkc_device *device, tkc_stream *stream, tkc_grid grid,
                      const tkc_argument *arguments, uint32_t count,
                      const tkc_launch_options *options) {
    if (!kernel || !device || (count && !arguments))
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_launch: `%s` is NULL.",
                        !kernel  ? "kernel"
                        : device ? "arguments"
                                 : "device");
    if (stream && stream->device != device)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkc_launch: the stream belongs to another device than `%s`.",
                        device->name);
    tkc_launch_options taken = TKC_LAUNCH_OPTIONS_INIT;
    DeviceLaunch launch = {.argument_count = count, .options = &taken};
    tkc_status status = rt_take_options(&taken, sizeof taken, options, "tkc_launch_options");
    if (!status && taken.counters && !device->kind->counts)
        status = tkc_fail(TKC_UNSUPPORTED, "tkc_launch_options.counters: `%s` does not count.",
                          device->name);
    if (!status && taken.bounds && !device->kind->checks)
        status = tkc_fail(TKC_UNSUPPORTED, "tkc_launch_options.bounds: `%s` cannot check accesses.",
                          device->name);
    if (!status) status = take_grid(kernel, grid, launch.grid);
    if (!status) status = check_count(kernel, count);
    if (status) return status;

    uint64_t words_at_hand[PARAMETERS_AT_HAND];
    DeviceTensor tensors_at_hand[PARAMETERS_AT_HAND];
    bool many = count > PARAMETERS_AT_HAND;
    Binding binding = {.kernel = kernel, .device = device};
    launch.arguments = many ? calloc(count, sizeof *launch.arguments) : words_at_hand;
    binding.tensors = many ? calloc(count, sizeof *binding.tensors) : tensors_at_hand;
    launch.tensors = binding.tensors;
    if (launch.arguments && binding.tensors)
        status = (device->context->options.launched ? bind_run_and_tell : bind_and_run)(
            kernel, device, stream, &binding, &launch, arguments);
    else
        status = rt_fail_memory();
    if (many) {
        free(launch.arguments);
        free(binding.tensors);
    }
    return status;
}
