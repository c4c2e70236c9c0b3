/* npy.c: arrays in NumPy's file format, read as untrusted input.
 *
 *     \x93NUMPY  major minor  length of the header  header  data
 *
 * The header is a Python dict literal with exactly the keys descr, fortran_order and shape. It is
 * read by a small strict parser: what np.save writes and its like, nothing else. The data must
 * be exactly as long as shape and type say.
 */
#include "runtime/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HEADER = 1 << 20, MAGIC_SIZE = 6, DATA_ALIGNMENT = 64 };

/* NumPy's letter and size, and ours. Where a size is 1 NumPy writes "|", else "<". */
/* clang-format off */
static const struct { tkc_dtype dtype; const char *descr; } descrs[] = {
    {TKC_I1,  "|b1"}, {TKC_I8,  "|i1"}, {TKC_I16, "<i2"}, {TKC_I32, "<i4"}, {TKC_I64, "<i8"},
    {TKC_U8,  "|u1"}, {TKC_U16, "<u2"}, {TKC_U32, "<u4"}, {TKC_U64, "<u8"},
    {TKC_F16, "<f2"}, {TKC_F32, "<f4"}, {TKC_F64, "<f8"},
    {TKC_BF16, "<V2"}, {TKC_F8E4M3, "|V1"}, {TKC_F8E5M2, "|V1"}, {TKC_F8E4M3B15, "|V1"},
};
/* clang-format on */

typedef struct Header {
    char descr[24];
    bool fortran_order;
    uint32_t rank;
    int64_t shape[TKC_MAX_RANK];
} Header;

/* The header while it is read. */
typedef struct HeaderReader {
    const char *file; /* name, for messages */
    const char *at, *end;
    tkc_status status;
} HeaderReader;

/* ---- header ---------------------------------------------------------------------------------- */

static void bad_header(HeaderReader *r, const char *what) {
    if (r->status) return;
    char near[32];
    size_t length = 0;
    for (const char *at = r->at; at < r->end && length + 1 < sizeof near; at++)
        near[length++] = *at >= 0x20 && *at < 0x7f ? *at : '?';
    near[length] = 0;
    r->status = tkc_fail(TKC_BAD_NPY, "`%s` is not a usable .npy file: its header %s (at `%s`).",
                         r->file, what, near);
}

static void skip_blanks(HeaderReader *r) {
    while (r->at < r->end && *r->at == ' ') r->at++;
}

static bool take(HeaderReader *r, char c) {
    skip_blanks(r);
    if (r->status || r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static void expect(HeaderReader *r, char c) {
    char what[] = "lacks a `?`";
    what[9] = c;
    if (!take(r, c)) bad_header(r, what);
}

/* A quoted string without escapes. */
static void read_string(HeaderReader *r, char *to, size_t size) {
    size_t length = 0;
    to[0] = 0;
    char quote = take(r, '\'') ? '\'' : '"';
    if (quote == '"') expect(r, '"');
    if (r->status) return;
    while (r->at < r->end && *r->at != quote && *r->at != '\\' && length + 1 < size)
        to[length++] = *r->at++;
    to[length] = 0;
    if (r->at == r->end || *r->at != quote)
        bad_header(r, "has a string that does not end");
    else
        r->at++;
}

static void read_descr(HeaderReader *r, Header *header) {
    skip_blanks(r);
    if (r->at < r->end && *r->at == '[') {
        r->status = tkc_fail(TKC_BAD_NPY,
                             "`%s` holds records (a structured dtype); an array of numbers is "
                             "needed. Save one field: np.save(path, a['field']).",
                             r->file);
        return;
    }
    read_string(r, header->descr, sizeof header->descr);
}

static void read_bool(HeaderReader *r, bool *value) {
    skip_blanks(r);
    size_t left = (size_t)(r->end - r->at);
    *value = left >= 4 && memcmp(r->at, "True", 4) == 0;
    if (!*value && !(left >= 5 && memcmp(r->at, "False", 5) == 0))
        bad_header(r, "has a fortran_order that is neither True nor False");
    else
        r->at += *value ? 4 : 5;
}

static int64_t read_extent(HeaderReader *r) {
    int64_t value = 0;
    bool any = false;
    skip_blanks(r);
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++, any = true)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *r->at - '0', &value)) {
            bad_header(r, "has an extent beyond 2^63");
            return 0;
        }
    if (!any) bad_header(r, "has a shape with something that is no number");
    if (r->at < r->end && *r->at == 'L') r->at++; /* written by Python 2 */
    return value;
}

/* (), (3,), (3, 4) */
static void read_shape(HeaderReader *r, Header *header) {
    header->rank = 0;
    expect(r, '(');
    while (!r->status && !take(r, ')')) {
        int64_t extent = read_extent(r);
        if (header->rank == TKC_MAX_RANK) bad_header(r, "has more than 32 dimensions");
        if (r->status) return;
        header->shape[header->rank++] = extent;
        if (take(r, ',')) continue;
        if (header->rank == 1) bad_header(r, "has a shape that is a number, not a tuple");
        expect(r, ')');
        return;
    }
}

static tkc_status read_header(HeaderReader *r, Header *header) {
    enum { DESCR = 1, FORTRAN_ORDER = 2, SHAPE = 4, ALL = 7 };
    uint32_t seen = 0;
    *header = (Header){0};
    expect(r, '{');
    while (!r->status && !take(r, '}')) {
        char key[24];
        uint32_t bit = 0;
        read_string(r, key, sizeof key);
        if (!strcmp(key, "descr")) bit = DESCR;
        if (!strcmp(key, "fortran_order")) bit = FORTRAN_ORDER;
        if (!strcmp(key, "shape")) bit = SHAPE;
        if (!bit) bad_header(r, "has a key other than descr, fortran_order and shape");
        if (seen & bit) bad_header(r, "has the same key twice");
        seen |= bit;
        expect(r, ':');
        if (r->status) break;
        if (bit == DESCR) read_descr(r, header);
        if (bit == FORTRAN_ORDER) read_bool(r, &header->fortran_order);
        if (bit == SHAPE) read_shape(r, header);
        if (take(r, ',')) continue;
        expect(r, '}');
        break;
    }
    if (seen != ALL) bad_header(r, "lacks one of descr, fortran_order and shape");
    skip_blanks(r);
    if (r->at < r->end && *r->at == '\n') r->at++;
    if (r->at < r->end) bad_header(r, "goes on after its end");
    return r->status;
}

/* ---- element types --------------------------------------------------------------------------- */

static tkc_status fail_descr(const char *file, const char *descr) {
    const char *why = "is not an element type of tkc";
    switch (descr[0] && strchr("<>|=", descr[0]) ? descr[1] : descr[0]) {
    case 'O': why = "means Python objects, which only Python can read"; break;
    case 'S':
    case 'a':
    case 'U': why = "means strings"; break;
    case 'c': why = "means complex numbers; save real and imaginary part on their own"; break;
    case 'M':
    case 'm': why = "means dates or times; save a.view('i8')"; break;
    }
    return tkc_fail(TKC_BAD_NPY, "`%s` cannot be used: its dtype '%s' %s.", file, descr, why);
}

/* `as` settles what raw bytes and unsigned integers stand for. */
static tkc_status choose_dtype(const char *file, const char *descr, tkc_dtype as,
                               tkc_dtype *dtype) {
    bool has_order = descr[0] && strchr("<>|=", descr[0]);
    const char *plain = has_order ? descr + 1 : descr;
    bool one_byte = strcmp(plain + (plain[0] != 0), "1") == 0;
    *dtype = TKC_NONE;
    for (size_t i = 0; i < RT_LENGTH(descrs) && !*dtype; i++)
        if (strcmp(descrs[i].descr + 1, plain) == 0) *dtype = descrs[i].dtype;
    if (!*dtype) return fail_descr(file, descr);
    if (descr[0] == '>' && !one_byte)
        return tkc_fail(
            TKC_BAD_NPY,
            "`%s` holds big-endian numbers (dtype '%s'); little-endian ones are needed. "
            "Save a.astype('<%s').",
            file, descr, plain);
    bool raw = plain[0] == 'V', is_unsigned = plain[0] == 'u';
    if (as == TKC_NONE || as == *dtype) {
        if (!raw || !one_byte || as != TKC_NONE) return TKC_OK;
        return tkc_fail(TKC_BAD_NPY,
                        "`%s` holds raw bytes (dtype '%s'); say what they are: f8e4m3, f8e5m2 or "
                        "f8e4m3b15.",
                        file, descr);
    }
    if ((raw || is_unsigned) && tkc_dtype_size(as) == tkc_dtype_size(*dtype)) {
        *dtype = as;
        return TKC_OK;
    }
    return tkc_fail(TKC_BAD_NPY, "`%s` holds %s (dtype '%s'), not %s. Values are not converted.",
                    file, tkc_dtype_name(*dtype), descr, tkc_dtype_name(as));
}

/* ---- data ------------------------------------------------------------------------------------ */

uint64_t tkc_array_count(const tkc_array *array) {
    uint64_t count = 1;
    bool empty = false;
    for (uint32_t i = 0; i < array->rank && i < TKC_MAX_RANK; i++) {
        if (array->shape[i] < 0) return UINT64_MAX;
        empty |= array->shape[i] == 0;
    }
    if (array->rank > TKC_MAX_RANK) return UINT64_MAX;
    if (empty) return 0;
    for (uint32_t i = 0; i < array->rank; i++)
        if (__builtin_mul_overflow(count, (uint64_t)array->shape[i], &count)) return UINT64_MAX;
    return count;
}

/* Column-major to row-major. `index` counts like an odometer, the last dimension fastest. */
static void transpose(const tkc_array *array, const char *from, char *to) {
    uint64_t steps[TKC_MAX_RANK], index[TKC_MAX_RANK] = {0}, at = 0, step = 1;
    uint32_t size = tkc_dtype_size(array->dtype);
    for (uint32_t i = 0; i < array->rank; i++) {
        steps[i] = step;
        step *= (uint64_t)array->shape[i];
    }
    for (uint64_t done = 0; done < array->size; done += size) {
        memcpy(to + done, from + at * size, size);
        for (uint32_t i = array->rank; i-- > 0;) {
            at += steps[i];
            if (++index[i] < (uint64_t)array->shape[i]) break;
            at -= steps[i] * index[i];
            index[i] = 0;
        }
    }
}

static tkc_status check_bools(const tkc_array *array, const char *file) {
    const uint8_t *bytes = array->data;
    for (uint64_t i = 0; array->dtype == TKC_I1 && i < array->size; i++)
        if (bytes[i] > 1)
            return tkc_fail(TKC_BAD_NPY,
                            "`%s` holds a bool that is neither 0 nor 1: element %" PRIu64 " is %u.",
                            file, i, bytes[i]);
    return TKC_OK;
}

/* Sizes in words, without doubt about overflow. */
static tkc_status check_size(const tkc_array *array, const char *file, uint64_t present) {
    uint64_t count = tkc_array_count(array), wanted;
    if (count == UINT64_MAX ||
        __builtin_mul_overflow(count, (uint64_t)tkc_dtype_size(array->dtype), &wanted))
        return tkc_fail(TKC_BAD_NPY, "`%s` claims a shape larger than any memory.", file);
    if (present == wanted) return TKC_OK;
    return tkc_fail(TKC_BAD_NPY,
                    "`%s` is %s: its shape needs %" PRIu64 " bytes of data and there are %" PRIu64
                    ".",
                    file, present < wanted ? "truncated" : "too long", wanted, present);
}

/* The file, read whole and aligned, becomes the array's data: its header is moved away. */
static tkc_status take_file(RtFile *file, const char *name, tkc_dtype as, tkc_array *array) {
    const uint8_t *bytes = (const uint8_t *)file->data;
    if (file->size < MAGIC_SIZE || memcmp(bytes, "\x93NUMPY", MAGIC_SIZE) != 0)
        return tkc_fail(TKC_BAD_NPY, "`%s` is not a .npy file: it does not begin with \\x93NUMPY.",
                        name);
    if (file->size < 10) return tkc_fail(TKC_BAD_NPY, "`%s` is truncated in its header.", name);
    uint32_t major = bytes[6], start = major == 1 ? 10 : 12;
    if (major < 1 || major > 3)
        return tkc_fail(TKC_BAD_NPY, "`%s` has format version %u.%u; 1, 2 and 3 are known.", name,
                        major, bytes[7]);
    uint64_t length = bytes[8] | (uint64_t)bytes[9] << 8;
    if (major > 1 && file->size >= 12)
        length |= (uint64_t)bytes[10] << 16 | (uint64_t)bytes[11] << 24;
    if (length > MOST_HEADER)
        return tkc_fail(TKC_BAD_NPY, "`%s` claims a header of %" PRIu64 " bytes; the limit is %u.",
                        name, length, MOST_HEADER);
    if (file->size < start || length > file->size - start)
        return tkc_fail(TKC_BAD_NPY, "`%s` is truncated in its header.", name);

    Header header;
    HeaderReader reader = {
        .file = name, .at = file->data + start, .end = file->data + start + length};
    tkc_array made = TKC_ARRAY_INIT;
    tkc_status status = read_header(&reader, &header);
    if (!status) status = choose_dtype(name, header.descr, as, &made.dtype);
    if (status) return status;
    made.rank = header.rank;
    memcpy(made.shape, header.shape, sizeof made.shape);
    made.size = file->size - start - length;
    status = check_size(&made, name, made.size);
    if (status) return status;
    char *data = file->data + start + length;
    if (header.fortran_order && made.rank > 1) {
        char *copy = aligned_alloc(DATA_ALIGNMENT,
                                   (made.size + DATA_ALIGNMENT) & ~(uint64_t)(DATA_ALIGNMENT - 1));
        if (!copy) return rt_fail_memory();
        transpose(&made, data, copy);
        free(file->data);
        file->data = copy;
    } else {
        memmove(file->data, data, made.size);
    }
    made.data = file->data;
    status = check_bools(&made, name);
    if (status) return status;
    file->data = NULL;
    *array = made;
    return TKC_OK;
}

static tkc_status check_target(tkc_dtype as, const tkc_array *array, const char *function) {
    if (!array) return tkc_fail(TKC_INVALID_ARGUMENT, "%s: `array` is NULL.", function);
    if (array->struct_size != sizeof *array)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s: start `array` from TKC_ARRAY_INIT.", function);
    if ((uint32_t)as >= TKC_DTYPE_COUNT)
        return tkc_fail(TKC_INVALID_ARGUMENT, "%s: %u is no element type.", function, (unsigned)as);
    return TKC_OK;
}

tkc_status tkc_npy_load(const char *path, tkc_dtype as, tkc_array *array) {
    tkc_status status = check_target(as, array, "tkc_npy_load");
    if (status) return status;
    *array = (tkc_array)TKC_ARRAY_INIT;
    if (!path) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_npy_load: `path` is NULL.");
    RtFile file;
    status = rt_read_file(path, (uint64_t)1 << 40, &file);
    if (!status) status = take_file(&file, path, as, array);
    free(file.data);
    return status;
}

tkc_status tkc_npy_parse(const void *bytes, size_t size, const char *name, tkc_dtype as,
                         tkc_array *array) {
    tkc_status status = check_target(as, array, "tkc_npy_parse");
    if (status) return status;
    *array = (tkc_array)TKC_ARRAY_INIT;
    if (!bytes) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_npy_parse: `bytes` is NULL.");
    if (size > SIZE_MAX / 2) return rt_fail_memory();
    size_t rounded = (size + DATA_ALIGNMENT) & ~(size_t)(DATA_ALIGNMENT - 1);
    RtFile file = {aligned_alloc(DATA_ALIGNMENT, rounded), size};
    if (!file.data) return rt_fail_memory();
    memcpy(file.data, bytes, size);
    status = take_file(&file, name ? name : "<memory>", as, array);
    free(file.data);
    return status;
}

void tkc_array_free(tkc_array *array) {
    if (!array) return;
    free(array->data);
    array->data = NULL;
    array->size = 0;
}

/* ---- saving ---------------------------------------------------------------------------------- */

tkc_status tkc_npy_save(const char *path, const tkc_array *array) {
    if (!path) return tkc_fail(TKC_INVALID_ARGUMENT, "tkc_npy_save: `path` is NULL.");
    tkc_status status = check_target(TKC_NONE, array, "tkc_npy_save");
    if (status) return status;
    const char *descr = NULL;
    for (size_t i = 0; i < RT_LENGTH(descrs); i++)
        if (descrs[i].dtype == array->dtype) descr = descrs[i].descr;
    uint64_t count = tkc_array_count(array), size = 0;
    bool fits = descr && count != UINT64_MAX &&
                !__builtin_mul_overflow(count, (uint64_t)tkc_dtype_size(array->dtype), &size);
    if (!fits || size != array->size || (size && !array->data))
        return tkc_fail(
            TKC_INVALID_ARGUMENT,
            "tkc_npy_save: the array does not hold together: dtype %s, rank %u, %" PRIu64
            " bytes%s.",
            tkc_dtype_name(array->dtype), array->rank, array->size,
            size && !array->data ? ", data NULL" : "");
    char head[2048], shape[1024] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < array->rank; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRId64, i ? ", " : "",
                                 array->shape[i]);
    if (array->rank == 1) strcat(shape, ",");
    int length = snprintf(head + 10, sizeof head - 10,
                          "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    size_t total = ((size_t)length + 10 + 1 + 63) / 64 * 64; /* the data begins at a multiple */
    memset(head + 10 + length, ' ', total - 10 - (size_t)length);
    head[total - 1] = '\n';
    memcpy(head, "\x93NUMPY\x01\x00", 8);
    head[8] = (char)((total - 10) & 0xff);
    head[9] = (char)((total - 10) >> 8);
    return rt_write_file(path, head, total, array->data, array->size);
}
