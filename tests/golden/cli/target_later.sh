tkc kernels/copy.tk -t cpu
