tkc kernels/copy.tk --num-warps=four
