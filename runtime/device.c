/* device.c: the table of devices; opening and listing them; streams and events.
 *
 * A new kind of device is one file with a DeviceKind and its name in a row here. In libtkcrt
 * (TKC_LAUNCH_ONLY) the devices that need the compiler are missing.
 */
#include "runtime/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct DeviceRow {
    const char *name, *about;
    const DeviceKind *kind; /* NULL: this build has none */
    uint32_t preference;    /* "auto" takes the highest that is available; 0: never */
} DeviceRow;

#ifdef TKC_LAUNCH_ONLY
#define COMPILING(kind) NULL
#else
#define COMPILING(kind) (&(kind))
#endif

/* The launch half runs native code that was compiled ahead of time. */
#if defined(TKC_LLVM) || defined(TKC_LAUNCH_ONLY)
#define NATIVE(kind) (&(kind))
#else
#define NATIVE(kind) NULL
#endif

/* clang-format off */
static const DeviceRow rows[] = {
    {"interp", "the block IR itself, every access checked", COMPILING(device_interp), 1},
    {"cpu",    "native code on all cores",                  NATIVE(device_cpu),       2},
    {"cuda",   "PTX through the CUDA driver",               &device_cuda,             3},
    {"emu",    "the emitted PTX, emulated and checked",     COMPILING(device_emu),    0},
};
/* clang-format on */

/* ---- listing ------------------------------------------------------------------------------- */

static uint32_t row_count(tkc_context *context, const DeviceRow *row) {
    return row->kind ? row->kind->count(context) : 1;
}

static void describe(tkc_context *context, const DeviceRow *row, uint32_t index,
                     tkc_device_info *info) {
    *info = (tkc_device_info)TKC_DEVICE_INFO_INIT;
    if (row->kind) {
        row->kind->describe(context, index, info);
    } else {
        snprintf(info->name, sizeof info->name, "%s", row->name);
        snprintf(info->description, sizeof info->description, "%s", row->about);
        snprintf(info->reason, sizeof info->reason, "this build has no %s device", row->name);
    }
    info->available = !info->reason[0];
}

uint32_t tkc_device_count(tkc_context *context) {
    uint32_t count = 0;
    if (!context) return 0;
    for (size_t i = 0; i < RT_LENGTH(rows); i++) count += row_count(context, &rows[i]);
    return count;
}

tkc_status tkc_device_describe(tkc_context *context, uint32_t index, tkc_device_info *info) {
    if (!context || !info)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_device_describe: `%s` is NULL.",
                        context ? "info" : "context");
    uint32_t left = index;
    for (size_t i = 0; i < RT_LENGTH(rows); i++) {
        uint32_t count = row_count(context, &rows[i]);
        if (left >= count) {
            left -= count;
            continue;
        }
        tkc_device_info found;
        describe(context, &rows[i], left, &found);
        return rt_give_struct(info, &found, sizeof found, "tkc_device_info");
    }
    return tkc_fail(TKC_NOT_FOUND, "tkc_device_describe: there is no device %u; there are %u.",
                    index, tkc_device_count(context));
}

/* ---- opening ------------------------------------------------------------------------------- */

static const DeviceRow *find_row(const char *name, size_t length) {
    for (size_t i = 0; i < RT_LENGTH(rows); i++)
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0)
            return &rows[i];
    return NULL;
}

static const DeviceRow *best_row(tkc_context *context) {
    const DeviceRow *best = NULL;
    for (size_t i = 0; i < RT_LENGTH(rows); i++) {
        const DeviceRow *row = &rows[i];
        if (!row->kind || row->preference <= (best ? best->preference : 0)) continue;
        tkc_device_info info;
        describe(context, row, 0, &info);
        if (info.available) best = row;
    }
    return best;
}

static tkc_status fail_unknown(const char *name) {
    char known[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < RT_LENGTH(rows); i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s, ", rows[i].name);
    return tkc_fail(TKC_NOT_FOUND, "There is no kind of device called `%s`. Known: %sauto.", name,
                    known);
}

tkc_status tkc_device_open(tkc_context *context, const char *name, tkc_device **device) {
    return tkc_device_open_with(context, name, NULL, device);
}

tkc_status tkc_device_open_with(tkc_context *context, const char *name,
                                const tkc_device_options *options, tkc_device **device) {
    if (device) *device = NULL;
    if (!context || !device)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_device_open: `%s` is NULL.",
                        context ? "device" : "context");
    tkc_device_options taken = TKC_DEVICE_OPTIONS_INIT;
    tkc_status status = rt_take_options(&taken, sizeof taken, options, "tkc_device_options");
    if (status) return status;
    if (!name) name = "auto";
    const char *colon = strchr(name, ':');
    size_t length = colon ? (size_t)(colon - name) : strlen(name);
    bool automatic = strcmp(name, "auto") == 0;
    const DeviceRow *row = automatic ? best_row(context) : find_row(name, length);
    if (!row && !automatic) return fail_unknown(name);
    if (!row) return tkc_fail(TKC_NO_DEVICE, "No device is available on this machine.");
    if (!row->kind)
        return tkc_fail(TKC_NO_DEVICE,
                        "The device `%s` cannot be opened: this build has no %s "
                        "device.",
                        name, row->name);
    tkc_device *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    atomic_init(&made->references, 1);
    made->kind = row->kind;
    made->context = rt_context_keep(context);
    pthread_mutex_init(&made->graves_lock, NULL);
    status = row->kind->open(made, colon ? colon + 1 : NULL, &taken);
    if (status) {
        pthread_mutex_destroy(&made->graves_lock);
        rt_context_release(context);
        free(made);
        return status;
    }
    *device = made;
    return TKC_OK;
}

tkc_device *rt_device_keep(tkc_device *device) {
    atomic_fetch_add(&device->references, 1);
    return device;
}

void rt_device_release(tkc_device *device) {
    if (atomic_fetch_sub(&device->references, 1) > 1) return;
    rt_buffer_free_graves(device);
    device->kind->close(device);
    pthread_mutex_destroy(&device->graves_lock);
    rt_context_release(device->context);
    free(device);
}

void tkc_device_destroy(tkc_device *device) {
    if (device) rt_device_release(device);
}

const char *tkc_device_name(const tkc_device *device) {
    return device ? device->name : "";
}

const char *tkc_device_target(const tkc_device *device) {
    return device ? device->target : "";
}

uint32_t tkc_device_processors(const tkc_device *device) {
    return device && device->processors ? device->processors : 1;
}

tkc_status tkc_device_synchronize(tkc_device *device) {
    if (!device) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_device_synchronize: `device` is NULL.");
    return device->kind->synchronize ? device->kind->synchronize(device, NULL) : TKC_OK;
}

/* ---- streams ------------------------------------------------------------------------------- */

tkc_status tkc_stream_create(tkc_device *device, tkc_stream **stream) {
    if (stream) *stream = NULL;
    if (!device || !stream)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_stream_create: `%s` is NULL.",
                        device ? "stream" : "device");
    tkc_stream *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    made->device = device;
    tkc_status status = device->kind->stream_create ? device->kind->stream_create(made) : TKC_OK;
    if (status) {
        free(made);
        return status;
    }
    rt_device_keep(device);
    *stream = made;
    return TKC_OK;
}

tkc_status tkc_stream_adopt(tkc_device *device, void *native, tkc_stream **stream) {
    if (stream) *stream = NULL;
    if (!device || !stream)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_stream_adopt: `%s` is NULL.",
                        device ? "stream" : "device");
    if (!device->kind->stream_create)
        return tkc_fail(TKC_UNSUPPORTED, "The device `%s` has no native streams to adopt.",
                        device->name);
    tkc_stream *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    *made = (tkc_stream){.device = rt_device_keep(device), .native = native, .adopted = true};
    *stream = made;
    return TKC_OK;
}

void *tkc_stream_native(const tkc_stream *stream) {
    return stream ? stream->native : NULL;
}

void tkc_stream_destroy(tkc_stream *stream) {
    if (!stream) return;
    tkc_device *device = stream->device;
    if (device->kind->stream_destroy && !stream->adopted) device->kind->stream_destroy(stream);
    free(stream);
    rt_device_release(device);
}

tkc_status tkc_stream_synchronize(tkc_device *device, tkc_stream *stream) {
    if (!device) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_stream_synchronize: `device` is NULL.");
    if (stream && stream->device != device)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkc_stream_synchronize: the stream belongs to another device than `%s`.",
                        device->name);
    return device->kind->synchronize ? device->kind->synchronize(device, stream) : TKC_OK;
}

/* ---- events -------------------------------------------------------------------------------- */

tkc_status tkc_event_create(tkc_device *device, tkc_event **event) {
    if (event) *event = NULL;
    if (!device || !event)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_event_create: `%s` is NULL.",
                        device ? "event" : "device");
    tkc_event *made = calloc(1, sizeof *made);
    if (!made) return rt_fail_memory();
    made->device = device;
    tkc_status status = device->kind->event_create ? device->kind->event_create(made) : TKC_OK;
    if (status) {
        free(made);
        return status;
    }
    rt_device_keep(device);
    *event = made;
    return TKC_OK;
}

void tkc_event_destroy(tkc_event *event) {
    if (!event) return;
    tkc_device *device = event->device;
    if (device->kind->event_destroy) device->kind->event_destroy(event);
    free(event);
    rt_device_release(device);
}

tkc_status tkc_event_record(tkc_event *event, tkc_stream *stream) {
    if (!event) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_event_record: `event` is NULL.");
    if (stream && stream->device != event->device)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkc_event_record: event and stream belong to different devices.");
    if (event->device->kind->event_record) {
        tkc_status status = event->device->kind->event_record(event, stream);
        if (status) return status;
    } else {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        event->host_ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
    }
    event->recorded = true;
    return TKC_OK;
}

tkc_status tkc_event_synchronize(tkc_event *event) {
    if (!event) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_event_synchronize: `event` is NULL.");
    if (!event->recorded || !event->device->kind->event_synchronize) return TKC_OK;
    return event->device->kind->event_synchronize(event);
}

tkc_status tkc_event_elapsed_ms(tkc_event *start, tkc_event *stop, double *milliseconds) {
    if (milliseconds) *milliseconds = 0;
    if (!start || !stop || !milliseconds)
        return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_event_elapsed_ms: `%s` is NULL.",
                        !start  ? "start"
                        : !stop ? "stop"
                                : "milliseconds");
    if (start->device != stop->device)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkc_event_elapsed_ms: the two events belong to different devices.");
    if (!start->recorded || !stop->recorded)
        return tkc_fail(TKC_INVALID_ARGUMENT,
                        "tkc_event_elapsed_ms: the %s event was never recorded; call "
                        "tkc_event_record first.",
                        start->recorded ? "stop" : "start");
    if (start->device->kind->event_elapsed)
        return start->device->kind->event_elapsed(start, stop, milliseconds);
    *milliseconds = stop->host_ms - start->host_ms;
    return TKC_OK;
}
