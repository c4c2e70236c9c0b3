/* attention_test.c: problems of attention. A batch is computed by the reference at once, sequences
 * of variable length one after another; results are kept as the kernel's tensors lie. */
#include "tests/attention_test.h"

#include <math.h>
#include <stdlib.h>

/* ---- sequences: parts of the tensors ----------------------------------------------------- */

/* The part of a tensor [batch, heads, length, width] that the reference computes at once. */
typedef struct Part {
    int64_t blocks, length, width; /* blocks: batch * heads */
    int64_t all, start;            /* rows of a block in the tensor, and the first of this part */
} Part;

static double *part_read(const Part *p, const double *tensor) {
    int64_t size = p->length * p->width;
    double *part = test_numbers(p->blocks * size);
    for (int64_t i = 0; i < p->blocks; i++)
        memcpy(part + i * size, tensor + (i * p->all + p->start) * p->width,
               (size_t)size * sizeof *part);
    return part;
}

static void part_write(const Part *p, const double *part, double *tensor) {
    int64_t size = p->length * p->width;
    for (int64_t i = 0; i < p->blocks; i++)
        memcpy(tensor + (i * p->all + p->start) * p->width, part + i * size,
               (size_t)size * sizeof *part);
}

/* ---- the reference ----------------------------------------------------------------------- */

static int64_t diagonal_of(const AttentionCase *c, int64_t q_length, int64_t kv_length) {
    return c->mask == TKK_CAUSAL_TOP_LEFT ? 0 : kv_length - q_length;
}

static ReferenceMethod method_of(const AttentionCase *c) {
    return (ReferenceMethod){.weights = c->type,
                             .roundings = 1,
                             .operand_error =
                                 c->type == REF_F32 && c->precision == TKK_TF32 ? 0x1p-10 : 0};
}

static double allowed(const ReferenceAttention *r, const AttentionCase *c, int result, double want,
                      double noise) {
    ReferenceMethod method = method_of(c);
    if (result == LSE) return reference_lse_tolerance(r, &method, want);
    /* The bias's gradient is f32, but delta is of `out` as it was stored. */
    return reference_attention_tolerance(r, &method, result == DBIAS ? REF_F32 : c->type, want,
                                         noise);
}

/* Computes a part of the problem, and puts the results in their places. Returns the least margin.
 */
static double compute(AttentionProblem *p, int64_t sequence, int64_t q_start, int64_t q_length,
                      int64_t kv_start, int64_t kv_length) {
    const AttentionCase *c = &p->c;
    const Part rows = {c->batch * c->heads, q_length, c->dim, c->q_length, q_start};
    const Part keys = {c->batch * c->kv_heads, kv_length, c->dim, c->kv_length, kv_start};
    Part state = rows, scores = rows;
    state.width = 1;
    scores.width = c->kv_length;
    const Part *parts[RESULTS] = {&rows, &state, &rows, &keys, &keys, &scores};
    double *q = part_read(&rows, p->q), *dout = part_read(&rows, p->dout);
    double *k = part_read(&keys, p->k), *v = part_read(&keys, p->v);
    double *want[RESULTS], *noise[RESULTS];
    for (int i = 0; i < RESULTS; i++) {
        int64_t count = parts[i]->blocks * parts[i]->length * parts[i]->width;
        bool used = p->results[i].want != NULL;
        want[i] = used ? test_numbers(count) : NULL;
        noise[i] = used ? test_numbers(count) : NULL;
    }
    ReferenceAttention r = {.batch = c->batch,
                            .heads = c->heads,
                            .kv_heads = c->kv_heads,
                            .q_length = q_length,
                            .kv_length = kv_length,
                            .dim = c->dim,
                            .diagonal = diagonal_of(c, q_length, kv_length),
                            .causal = c->mask != TKK_NO_MASK,
                            .scale = (double)p->scale,
                            .q = q,
                            .k = k,
                            .v = v,
                            .dout = dout,
                            .out = want[OUT],
                            .lse = want[LSE],
                            .dq = want[DQ],
                            .dk = want[DK],
                            .dv = want[DV],
                            .relu = c->weighting == TKK_RELU_WEIGHTS,
                            .windowed = c->windowed,
                            .left = c->left,
                            .right = c->right,
                            .soft_cap = (double)c->soft_cap,
                            .dropout = (double)c->dropout,
                            .bias = p->bias,
                            .dbias = want[DBIAS],
                            .slopes = p->slopes,
                            .seed = p->seed,
                            .first_place = sequence * c->heads,
                            .out_noise = noise[OUT],
                            .dq_noise = noise[DQ],
                            .dk_noise = noise[DK],
                            .dv_noise = noise[DV],
                            .dbias_noise = noise[DBIAS]};
    reference_attention(&r);
    for (int i = 0; i < RESULTS; i++) {
        if (!want[i]) continue;
        int64_t count = parts[i]->blocks * parts[i]->length * parts[i]->width;
        part_write(parts[i], want[i], p->results[i].want);
        for (int64_t j = 0; j < count; j++)
            noise[i][j] = allowed(&r, c, i, want[i][j], noise[i][j]);
        part_write(parts[i], noise[i], p->results[i].allowed);
        free(want[i]);
        free(noise[i]);
    }
    free(q);
    free(dout);
    free(k);
    free(v);
    return r.least_margin;
}

static double compute_all(AttentionProblem *p) {
    const AttentionCase *c = &p->c;
    if (!c->sequences) return compute(p, 0, 0, c->q_length, 0, c->kv_length);
    double margin = INFINITY;
    int64_t q_start = c->outside, kv_start = c->outside;
    for (int64_t i = 0; i < c->sequences; i++) {
        margin = fmin(margin, compute(p, i, q_start, c->q_lengths[i], kv_start, c->kv_lengths[i]));
        q_start += c->q_lengths[i];
        kv_start += c->kv_lengths[i];
    }
    return margin;
}

/* ---- inputs ------------------------------------------------------------------------------ */

static bool is_boolean(const AttentionCase *c) {
    return c->bias == BOOLEAN || c->bias == BOOLEAN_OF_KEY;
}

static ReferenceType bias_type(const AttentionCase *c) {
    return c->type == REF_F16 ? REF_F16 : REF_F32;
}

/* The extents in which a bias differs. */
static void bias_shape(const AttentionCase *c, int64_t shape[4]) {
    shape[0] = c->bias == ADDED_TO_KEY ? 1 : c->batch;
    shape[1] = c->bias == ADDED_TO_KEY || c->bias == BOOLEAN_OF_KEY ? 1 : c->heads;
    shape[2] = c->bias == ADDED_TO_KEY || c->bias == BOOLEAN_OF_KEY ? 1 : c->q_length;
    shape[3] = c->kv_length;
}

/* Element (batch, head, row, key) of the scores, in the numbers of the bias. */
static int64_t bias_at(const AttentionCase *c, int64_t head, int64_t row, int64_t key) {
    int64_t shape[4];
    bias_shape(c, shape);
    int64_t batch = head / c->heads % shape[0];
    return ((batch * shape[1] + head % c->heads % shape[1]) * shape[2] + row % shape[2]) *
               shape[3] +
           key;
}

/* Returns the numbers that differ; p->bias has them for every score. Some keys are hidden, of the
 * third row all, and the second key from all rows. */
static double *make_bias(AttentionProblem *p, Random *random) {
    const AttentionCase *c = &p->c;
    int64_t shape[4], count, scores = c->batch * c->heads * c->q_length * c->kv_length;
    if (c->bias == NO_BIAS) return NULL;
    bias_shape(c, shape);
    count = shape[0] * shape[1] * shape[2] * shape[3];
    double *numbers = test_numbers(count);
    random_fill(random, bias_type(c), 1, numbers, count);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = i / shape[3] % shape[2], key = i % shape[3];
        bool hidden = random_uniform(random) < 0.2 || key == 1 || (shape[2] > 1 && row == 2);
        if (hidden) numbers[i] = -INFINITY;
        if (!hidden && is_boolean(c)) numbers[i] = 0;
    }
    p->bias = test_numbers(scores);
    for (int64_t i = 0; i < scores; i++)
        p->bias[i] = numbers[bias_at(c, i / c->kv_length / c->q_length,
                                     i / c->kv_length % c->q_length, i % c->kv_length)];
    return numbers;
}

static void make_numbers(AttentionProblem *p, Random *random) {
    const AttentionCase *c = &p->c;
    int64_t q_count = c->batch * c->heads * c->q_length * c->dim;
    int64_t kv_count = c->batch * c->kv_heads * c->kv_length * c->dim;
    double spread = c->spread > 0 ? (double)c->spread : 0.7;
    random_fill(random, c->type, spread, p->q, q_count);
    random_fill(random, c->type, 1, p->dout, q_count);
    random_fill(random, c->type, spread, p->k, kv_count);
    random_fill(random, c->type, 0.7, p->v, kv_count);
    if (p->slopes)
        for (int64_t i = 0; i < c->heads; i++)
            p->slopes[i] = reference_round(REF_F32, random_uniform(random) * 0.2 - 0.03);
}

/* Which sequence a row or key is in, and which one in it; false: in none. */
static bool locate(const AttentionCase *c, const int64_t *lengths, int64_t *index, int64_t *which) {
    *which = 0;
    if (!c->sequences) return true;
    for (*index -= c->outside; *which < c->sequences; *index -= lengths[(*which)++])
        if (*index < lengths[*which]) return *index >= 0;
    return false;
}

static bool sees(const AttentionProblem *p, int64_t head, int64_t row, int64_t key) {
    const AttentionCase *c = &p->c;
    if (is_boolean(c) && p->bias[(head * c->q_length + row) * c->kv_length + key] != 0)
        return false;
    int64_t of_row, of_key, q_length = c->q_length, kv_length = c->kv_length;
    if (!locate(c, c->q_lengths, &row, &of_row) || !locate(c, c->kv_lengths, &key, &of_key) ||
        of_row != of_key)
        return false;
    if (c->sequences) {
        q_length = c->q_lengths[of_row];
        kv_length = c->kv_lengths[of_row];
    }
    int64_t ahead = key - row - diagonal_of(c, q_length, kv_length);
    if (c->mask != TKK_NO_MASK && ahead > 0) return false;
    return !c->windowed ||
           ((c->left < 0 || ahead >= -c->left) && (c->right < 0 || ahead <= c->right));
}

static void fill_row(double *x, int64_t row, int64_t dim, double value) {
    for (int64_t i = 0; i < dim; i++) x[row * dim + i] = value;
}

/* NaN where no mask lets anybody look. */
static void spoil(AttentionProblem *p) {
    const AttentionCase *c = &p->c;
    int64_t heads = c->batch * c->heads, group = c->heads / (c->kv_heads ? c->kv_heads : 1);
    char *seen = calloc((size_t)(c->batch * c->kv_heads * c->kv_length + 1), 1);
    for (int64_t head = 0; head < heads; head++)
        for (int64_t row = 0; row < c->q_length; row++) {
            bool any = false;
            for (int64_t key = 0; key < c->kv_length; key++)
                if (sees(p, head, row, key)) {
                    any = true;
                    seen[head / group * c->kv_length + key] = 1;
                }
            if (any) continue;
            fill_row(p->q, head * c->q_length + row, c->dim, NAN);
            fill_row(p->dout, head * c->q_length + row, c->dim, NAN);
        }
    for (int64_t i = 0; i < c->batch * c->kv_heads * c->kv_length; i++)
        if (!seen[i]) {
            fill_row(p->k, i, c->dim, NAN);
            fill_row(p->v, i, c->dim, NAN);
        }
    free(seen);
}

/* ---- tensors ----------------------------------------------------------------------------- */

static tkc_buffer *upload(TestDevice *device, const char *name, const void *data, size_t size) {
    tkc_buffer *buffer;
    test_ok(tkc_buffer_create(device->device, size ? size : 1, name, &buffer));
    if (size) test_ok(tkc_buffer_write(buffer, 0, data, size));
    return buffer;
}

static void add_bias(AttentionProblem *p, TestDevice *device, const double *numbers) {
    const AttentionCase *c = &p->c;
    int64_t shape[4];
    if (!numbers) return;
    bias_shape(c, shape);
    tkk_tensor tensor;
    if (is_boolean(c)) {
        int64_t count = shape[0] * shape[1] * shape[2] * shape[3];
        char *bytes = malloc((size_t)count + 1);
        for (int64_t i = 0; i < count; i++) bytes[i] = numbers[i] == 0;
        p->mask_buffer = upload(device, "bias", bytes, (size_t)count);
        tensor = tkk_tensor4(tkc_arg_buffer(p->mask_buffer), TKC_I1, shape[0], shape[1], shape[2],
                             shape[3]);
        free(bytes);
    } else {
        p->bias_tensor = test_tensor(device, "bias", bias_type(c), 4, shape, NULL, numbers);
        tensor = p->bias_tensor.tensor;
    }
    const int64_t all[] = {c->batch, c->heads, c->q_length, c->kv_length};
    for (int i = 0; i < 4; i++)
        if (shape[i] != all[i]) {
            tensor.shape[i] = all[i];
            tensor.stride[i] = 0;
        }
    p->call.bias = tensor;
}

static void add_starts(AttentionProblem *p, TestDevice *device) {
    const AttentionCase *c = &p->c;
    const int64_t *lengths[] = {c->q_lengths, c->kv_lengths};
    tkk_tensor *tensors[] = {&p->call.q_starts, &p->call.kv_starts};
    int64_t *longest[] = {&p->call.longest_q, &p->call.longest_kv};
    for (int side = 0; c->sequences && side < 2; side++) {
        int32_t starts[MOST_SEQUENCES + 1] = {(int32_t)c->outside};
        for (int64_t i = 0; i < c->sequences; i++) {
            starts[i + 1] = starts[i] + (int32_t)lengths[side][i];
            if (lengths[side][i] > *longest[side]) *longest[side] = lengths[side][i];
        }
        size_t count = (size_t)c->sequences + 1;
        p->starts[side] = upload(device, "starts", starts, count * sizeof *starts);
        *tensors[side] = tkk_vector(tkc_arg_buffer(p->starts[side]), TKC_I32, (int64_t)count);
    }
}

static void add_tensors(AttentionProblem *p, TestDevice *device) {
    const AttentionCase *c = &p->c;
    const int64_t of_q[] = {c->batch, c->heads, c->q_length, c->dim};
    const int64_t of_k[] = {c->batch, c->kv_heads, c->kv_length, c->dim};
    const int64_t of_scores[] = {c->batch, c->heads, c->q_length, c->kv_length};
    static const char *const input_names[] = {"q", "k", "v", "dout"};
    const double *numbers[] = {p->q, p->k, p->v, p->dout};
    tkk_tensor *inputs[] = {&p->call.q, &p->call.k, &p->call.v, &p->call.dout};
    for (int i = 0; i < 4; i++) {
        p->inputs[i] = test_tensor(device, input_names[i], c->type, 4, i % 3 ? of_k : of_q,
                                   c->layout, numbers[i]);
        *inputs[i] = p->inputs[i].tensor;
    }
    const int64_t *shapes[RESULTS] = {of_q, of_q, of_q, of_k, of_k, of_scores};
    tkk_tensor *results[] = {&p->call.out, &p->call.lse, &p->call.dq,
                             &p->call.dk,  &p->call.dv,  &p->call.dbias};
    for (int i = 0; i < RESULTS; i++) {
        AttentionResult *result = &p->results[i];
        if (!result->want) continue;
        bool dense = i == LSE || i == DBIAS;
        result->tensor = test_tensor(device, result->name, dense ? REF_F32 : c->type,
                                     i == LSE ? 3 : 4, shapes[i], dense ? NULL : c->layout, NULL);
        *results[i] = result->tensor.tensor;
    }
    if (c->weighting == TKK_SOFTMAX) {
        p->delta = test_tensor(device, "delta", REF_F32, 3, of_q, NULL, NULL);
        p->call.delta = p->delta.tensor;
    }
    if (p->slopes) {
        p->slope_tensor = test_tensor(device, "slopes", REF_F32, 1, &c->heads, NULL, p->slopes);
        p->call.slopes = p->slope_tensor.tensor;
    }
    add_starts(p, device);
}

AttentionProblem *attention_problem(TestDevice *device, Random *random, const AttentionCase *c) {
    AttentionProblem *p = calloc(1, sizeof *p);
    ck_assert_ptr_nonnull(p);
    static const char *const names[RESULTS] = {"out", "lse", "dq", "dk", "dv", "dbias"};
    int64_t rows = c->batch * c->heads * c->q_length;
    int64_t q_count = rows * c->dim, kv_count = c->batch * c->kv_heads * c->kv_length * c->dim;
    const int64_t counts[RESULTS] = {q_count,  rows,     q_count,
                                     kv_count, kv_count, rows * c->kv_length};
    bool softmax = c->weighting == TKK_SOFTMAX;
    p->c = *c;
    p->seed = random_bits(random);
    p->scale = (float)(1.5 / sqrt((double)c->dim));
    if (!softmax) p->scale /= (float)(c->kv_length > 0 ? c->kv_length : 1);
    p->q = test_numbers(q_count);
    p->dout = test_numbers(q_count);
    p->k = test_numbers(kv_count);
    p->v = test_numbers(kv_count);
    if (c->slopes) p->slopes = test_numbers(c->heads);
    double *bias = make_bias(p, random);
    for (int i = 0; i < RESULTS; i++) {
        AttentionResult *result = &p->results[i];
        result->name = names[i];
        if ((i == LSE && !softmax) || (i == DBIAS && (!p->bias || is_boolean(c)))) continue;
        result->want = test_numbers(counts[i]);
        result->allowed = test_numbers(counts[i]);
        for (int64_t j = 0; j < counts[i]; j++) /* what no sequence has stays poisoned */
            result->want[j] = NAN;
    }
    do make_numbers(p, random); /* a score too near 0 may have either sign */
    while (compute_all(p) < 1e-5 && !softmax);
    spoil(p);

    p->call = (tkk_attention)TKK_ATTENTION_INIT;
    p->call.mask = c->mask;
    p->call.precision = c->precision;
    p->call.scale = p->scale;
    p->call.weighting = c->weighting;
    p->call.windowed = c->windowed;
    p->call.window_left = c->left;
    p->call.window_right = c->right;
    p->call.soft_cap = c->soft_cap;
    p->call.dropout = c->dropout;
    p->call.dropout_seed = p->seed;
    add_tensors(p, device);
    add_bias(p, device, bias);
    free(bias);
    return p;
}

void attention_free(AttentionProblem *p) {
    double *numbers[] = {p->q, p->k, p->v, p->dout, p->bias, p->slopes};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) free(numbers[i]);
    for (int i = 0; i < 4; i++) test_free(&p->inputs[i]);
    for (int i = 0; i < RESULTS; i++) {
        free(p->results[i].want);
        free(p->results[i].allowed);
        test_free(&p->results[i].tensor);
    }
    test_free(&p->bias_tensor);
    test_free(&p->slope_tensor);
    test_free(&p->delta);
    tkc_buffer_destroy(p->mask_buffer);
    tkc_buffer_destroy(p->starts[0]);
    tkc_buffer_destroy(p->starts[1]);
    free(p);
}

/* ---- comparison -------------------------------------------------------------------------- */

static void describe(const AttentionCase *c, char *to, size_t size) {
    static const char *const masks[] = {"", " causal", " causal-top-left"};
    static const char *const biases[] = {"", " bias", " bias-of-key", " boolean",
                                         " boolean-of-key"};
    int used = snprintf(to, size, "%lldx%lld/%lldx%lldx%lldx%lld %s%s%s", (long long)c->batch,
                        (long long)c->heads, (long long)c->kv_heads, (long long)c->q_length,
                        (long long)c->kv_length, (long long)c->dim,
                        tkc_dtype_name(test_dtype(c->type)), masks[c->mask], biases[c->bias]);
    const struct {
        bool on;
        const char *word;
    } words[] = {{c->type == REF_F32 && c->precision == TKK_TF32, " tf32"},
                 {c->weighting == TKK_RELU_WEIGHTS, " relu"},
                 {c->windowed, " window"},
                 {c->soft_cap > 0, " cap"},
                 {c->slopes, " slopes"},
                 {c->dropout > 0, " dropout"},
                 {c->sequences > 0, " sequences"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].on) used += snprintf(to + used, size - (size_t)used, "%s", words[i].word);
}

void attention_compare(const AttentionProblem *p, const TestDevice *device, int result) {
    const AttentionResult *r = &p->results[result];
    if (!r->want) return;
    double *got = test_read(&r->tensor);
    for (int64_t i = 0; i < r->tensor.count; i++) /* outside of all sequences: untouched */
        if (isnan(r->want[i]) && isnan(got[i])) got[i] = r->want[i] = r->allowed[i] = 0;
    char shape[160], what[192];
    describe(&p->c, shape, sizeof shape);
    snprintf(what, sizeof what, "%s: %s on %s", r->name, shape, device->name);
    test_compare(what, r->tensor.count, got, r->want, r->allowed);
    free(got);
}

void check_attention(TestDevice *device, Random *random, const AttentionCase *c) {
    AttentionProblem *p = attention_problem(device, random, c);
    test_ok(tkk_attention_forward(device->library, NULL, &p->call));
    attention_compare(p, device, OUT);
    attention_compare(p, device, LSE);
    test_ok(tkk_attention_backward(device->library, NULL, &p->call));
    for (int i = DQ; i < RESULTS; i++) attention_compare(p, device, i);
    attention_free(p);
}
