/* bounds.c: each access checked before it is done.
 *
 * Compiled code asks one question itself: do all lanes, on or off, follow each other inside one
 * range? Then the address is that of the range plus the offset. Everything else (gathers, tails,
 * addresses that are wrong or not ours) is for cpu_check, lane by lane.
 */
#include "compiler/cpu/emit.h"

#include <assert.h>

/* ---- when it runs ------------------------------------------------------------------- */

enum { LEAST_FIXED = 0x400000 };
static const uint64_t half = UINT64_C(1) << (CPU_RANGE_SHIFT - 1);

/* Below the returned address lies no memory of anybody: that is a null pointer and an offset. Where
 * this code itself lies tells whether programs are loaded at low addresses here. */
static uint64_t least_address(void) {
    return (uint64_t)(uintptr_t)cpu_check > half ? half : LEAST_FIXED;
}

static bool is_ours(uint64_t address) {
    return address >= CPU_CHECKED && address < CPU_CHECKED * 2;
}

/* The range that was meant is the nearest: a negative offset belongs to the one above. */
static uint32_t check_lane(const CpuLaunch *launch, uint64_t address, uint32_t size,
                           uint64_t *shift) {
    *shift = 0;
    if (!is_ours(address))
        return address < least_address() || address >> 63 ? CPU_FAULT_NULL : CPU_RUNNING;
    const uint64_t k = (address - CPU_CHECKED + half) >> CPU_RANGE_SHIFT;
    if (k == 0 || k > launch->range_count) return CPU_FAULT_NULL;
    const CpuRange *range = &launch->ranges[k - 1];
    const uint64_t offset = address - CPU_CHECKED_ADDRESS(k - 1);
    *shift = range->data - CPU_CHECKED_ADDRESS(k - 1);
    if (offset >= range->size || size > range->size - offset) return CPU_FAULT_BOUNDS;
    return offset % size ? CPU_FAULT_MISALIGNED : CPU_RUNNING;
}

uint32_t cpu_check(const CpuLaunch *launch, CpuLanes *lanes, uint32_t count, uint32_t size,
                   uint32_t op, CpuFault *fault) {
    uint64_t shift, usual = 0;
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        if (!lanes->on[i]) continue;
        const uint32_t kind = check_lane(launch, lanes->address[i], size, &shift);
        if (kind != CPU_RUNNING) {
            const uint64_t address = lanes->address[i];
            *fault = (CpuFault){kind, op, lanes->element[i],
                                is_ours(address) ? address - CPU_CHECKED : address};
            return kind;
        }
        if (!any) usual = shift;
        any = true;
        lanes->address[i] += shift;
    }
    for (uint32_t i = 0; i < count; i++)
        if (!lanes->on[i]) lanes->address[i] += usual;
    return CPU_RUNNING;
}

/* ---- in code ------------------------------------------------------------------------ */

static Reg field(Emitter *e, Reg lanes, size_t offset) {
    return byte_offset(e, lanes, const_i64(e, (int64_t)offset));
}

static Reg lane_values(Emitter *e, Reg base, uint64_t step, uint32_t width) {
    if (width_of(base) == width && width > 1) return base;
    Reg numbers = lane_numbers(e, e->i64, width);
    Reg far = LLVMBuildMul(e->b, numbers, const_int_like(numbers, step), "");
    return LLVMBuildAdd(e->b, splat_reg(e, base, width), far, "");
}

static Reg elements_at(Emitter *e, const Checked *c) {
    const Type *type = op_operand(c->op, 0)->type;
    if (!type_is_block(type)) return const_i64(e, 0);
    CoordKind kind;
    Reg element = row_major(e, type, c->place, c->width, &kind);
    return lane_values(e, element, kind == COORD_STEP, c->width);
}

/* Asks cpu_check. */
static Reg ask(Emitter *e, const Checked *c, Reg address) {
    assert(c->width <= CPU_MOST_LANES);
    if (!e->has_lanes) e->lanes_slot = slot_alloc(e, sizeof(CpuLanes));
    e->has_lanes = true;
    Reg lanes = slot_pointer(e, e->lanes_slot);
    Reg on = c->mask ? splat_reg(e, c->mask, c->width)
                     : splat_reg(e, LLVMConstInt(e->i1, 1, 0), c->width);
    on = LLVMBuildZExt(e->b, on, lanes_type(e->i8, c->width), "");
    store_reg(e, lane_values(e, address, c->step, c->width), lanes, 8);
    store_reg(e, elements_at(e, c), field(e, lanes, offsetof(CpuLanes, element)), 8);
    store_reg(e, on, field(e, lanes, offsetof(CpuLanes, on)), 1);
    RegType types[6] = {e->pointer, e->pointer, e->i32, e->i32, e->i32, e->pointer};
    Reg operands[6] = {e->launch,
                       lanes,
                       const_i32(e, c->width),
                       const_i32(e, c->size),
                       const_i32(e, order_of(e, c->op)),
                       e->fault};
    Reg kind = LLVMBuildCall2(e->b, LLVMFunctionType(e->i32, types, 6, 0),
                              LAUNCH_FIELD(e, check, e->pointer), operands, 6, "");
    Branch branch;
    branch_open(e, &branch, LLVMBuildICmp(e->b, LLVMIntNE, kind, const_i32(e, 0), ""));
    LLVMBuildRet(e->b, kind);
    LLVMPositionBuilderAtEnd(e->b, branch.other);
    return load_reg(e, lanes_type(e->i64, width_of(address)), lanes, 8);
}

Reg code_checked(Emitter *e, const Checked *c, Reg address) {
    if (width_of(address) > 1) return ask(e, c, address);
    LLVMBuilderRef b = e->b;
    const uint64_t bytes = (c->width - 1) * c->step + c->size;
    const uint64_t first = CPU_CHECKED_ADDRESS(0) >> CPU_RANGE_SHIFT;
    Reg k = LLVMBuildLShr(b, address, const_i64(e, CPU_RANGE_SHIFT), "");
    k = LLVMBuildSub(b, k, const_i64(e, (int64_t)first), "");
    Reg known = LLVMBuildICmp(b, LLVMIntULT, k, LAUNCH_FIELD(e, range_count, e->i64), "");
    k = LLVMBuildSelect(b, known, k, const_i64(e, 0), "");
    Reg range = byte_offset(e, LAUNCH_FIELD(e, ranges, e->pointer),
                            LLVMBuildMul(b, k, const_i64(e, (int64_t)sizeof(CpuRange)), ""));
    Reg size = load_reg(e, e->i64, field(e, range, offsetof(CpuRange, size)), 8);
    Reg data = load_reg(e, e->i64, field(e, range, offsetof(CpuRange, data)), 8);
    Reg offset = LLVMBuildAnd(b, address, const_i64(e, ((int64_t)1 << CPU_RANGE_SHIFT) - 1), "");
    Reg end = LLVMBuildAdd(b, offset, const_i64(e, (int64_t)bytes), "");
    Reg fits = LLVMBuildICmp(b, LLVMIntULE, end, size, "");
    Reg low = LLVMBuildURem(b, offset, const_i64(e, c->size), "");
    Reg aligned = LLVMBuildICmp(b, LLVMIntEQ, low, const_i64(e, 0), "");
    Reg good = LLVMBuildAnd(b, LLVMBuildAnd(b, known, fits, ""), aligned, "");
    Branch branch;
    branch_open(e, &branch, good);
    Reg plain = LLVMBuildAdd(b, data, offset, "");
    branch_else(e, &branch);
    Reg asked = ask(e, c, address);
    LLVMBasicBlockRef asked_end = LLVMGetInsertBlock(b);
    branch_close(e, &branch);
    return branch_merge(e, &branch, branch.then, plain, asked_end, asked);
}
