/* passes.c: the list of passes from BLOCK to PLACED. */
#include "compiler/gpu/gpu.h"

const Pass pipeline_gpu[] = {
    {"lay", pass_lay, LEVEL_LAID, "give every block a layout"},
    {"place", pass_place, LEVEL_PLACED, "give out shared memory, put barriers"},
    {0},
};
