/* rows.h: tensors of one shape, rank 1 to 4, seen as rows along one of their dimensions.
 *
 * A program of a kernel over rows has a block of neighbouring rows, whole or in pieces.
 * The other dimensions are merged where the strides of all tensors allow it, so that three are
 * enough: the rows of a program are neighbours along `lane`, and `middle` and `outer` are the
 * same for all of them.
 *
 *     Rows rows;
 *     rows_begin(&rows, axis, x);
 *     rows_add(&rows, y);              all tensors, before anything is asked
 *     rows_end(&rows);
 *     ...
 *     rows_strides(&rows, &call, "x", x);
 *
 * A tensor without the axis (a sum of each row) is seen with an axis of stride 0: rows_reduced.
 */
#ifndef TKC_KERNELS_ROWS_H
#define TKC_KERNELS_ROWS_H

#include "kernels/host.h"

enum { ROWS_MOST_TENSORS = 8 };

typedef struct Rows {
    uint32_t axis, tensor_count;
    tkk_tensor tensors[ROWS_MOST_TENSORS];
    int64_t length;                           /* along the axis */
    int64_t lanes, middle, outer;             /* extents of the other dimensions */
    uint32_t lane_dim, middle_dim, outer_dim; /* the tensors' dimensions with their strides */
    bool across; /* neighbours in memory are neighbours along the lanes, not along the axis */
} Rows;

/* How a block of a program is cut. */
typedef struct RowBlock {
    int64_t rows, length; /* powers of two */
    bool whole;           /* length is at least that of the rows */
    uint32_t warps;
} RowBlock;

/* The dimension that `axis` means: negative ones count from the last. */
tkc_status check_axis(int32_t axis, const tkk_tensor *tensor, uint32_t *dim);
/* Rank 1 to 4, extents and strides that kernels over rows can take. */
tkc_status check_rows(const char *name, const tkk_tensor *tensor);
/* check_rows and the shape of `like`. */
tkc_status check_rows_like(const char *name, const tkk_tensor *tensor, const tkk_tensor *like);
/* One value a row: the shape of `like` without dimension `dim`, or with an extent of 1 there. */
tkc_status check_rows_reduced(const char *name, const tkk_tensor *tensor, const tkk_tensor *like,
                              uint32_t dim);

void rows_begin(Rows *rows, uint32_t axis, const tkk_tensor *tensor);
void rows_add(Rows *rows, const tkk_tensor *tensor);
/* A tensor that check_rows_reduced took, with the axis put back, of stride 0. */
tkk_tensor rows_reduced(const tkk_tensor *tensor, const tkk_tensor *like, uint32_t dim);
/* The tensor without dimension `dim`. */
tkk_tensor rows_dropped(tkk_tensor tensor, uint32_t dim);
/* Whether a dimension of stride `outer` goes on where one of this stride and extent ends. */
bool goes_on(int64_t outer, int64_t stride, int64_t extent);
/* All dimensions but the last one merged into one; false: their strides do not allow that. */
bool rows_as_matrix(const tkk_tensor *tensor, tkk_tensor *matrix);
void rows_end(Rows *rows);
/* Whether there is nothing to do. */
bool rows_empty(const Rows *rows);

/* A block that suits the device: in registers of a GPU's threads, in the first cache of a core.
 * Small problems are one program on cores, since to wake another one takes longer. Rows whose
 * block would have more than `longest` elements are done in pieces. */
RowBlock rows_block(const Rows *rows, const tkk_library *library, int64_t longest);
/* Adds the parameters NAME_n, NAME_l, NAME_m, NAME_o: strides along the axis and the lanes, and of
 * the middle and outer dimension. `name` is a literal. No tensor, no parameters. */
#define rows_strides(rows, call, name, tensor)                                                     \
    rows_strides_((rows), (call),                                                                  \
                  (const char *const[4]){name "_n", name "_l", name "_m", name "_o"}, (tensor))
void rows_strides_(const Rows *rows, Call *call, const char *const names[4],
                   const tkk_tensor *tensor);
/* The same without NAME_n, for one value a row. */
#define rows_reduced_strides(rows, call, name, tensor)                                             \
    rows_reduced_strides_((rows), (call), (const char *const[3]){name "_l", name "_m", name "_o"}, \
                          (tensor))
void rows_reduced_strides_(const Rows *rows, Call *call, const char *const names[3],
                           const tkk_tensor *tensor);
/* Adds the parameters n, lanes, middle, and the constants AXIS, OUTER, EVEN, ROWS, BLOCK. */
void rows_sizes(const Rows *rows, Call *call, const RowBlock *block);
tkc_grid rows_grid(const Rows *rows, const RowBlock *block);

#endif
