/* passes.c: the list of passes from BLOCK to PLACED. */
#include "compiler/gpu/gpu.h"

const Pass pipeline_gpu[] = {
    {"math", pass_math, LEVEL_BLOCK, "exp, sin, ... become arithmetic"},
    {"bases", pass_bases, LEVEL_BLOCK, "blocks of pointers: a scalar one and offsets"},
    {"lay", pass_lay, LEVEL_LAID, "give every block a layout"},
    {"settle", pass_settle, LEVEL_LAID, "fewer and cheaper converts"},
    {"pipeline", pass_pipeline, LEVEL_LAID, "loads for dots ahead of their loops"},
    {"cse", pass_cse, LEVEL_LAID, "merge equal ops"},
    {"dce", pass_dce, LEVEL_LAID, "drop what nothing needs"},
    {"place", pass_place, LEVEL_PLACED, "give out shared memory, put barriers"},
    {0},
};
