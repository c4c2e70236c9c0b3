tkc kernels/copy.tk --stop-after=regalloc
