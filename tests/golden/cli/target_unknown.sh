tkc kernels/copy.tk -t gfx942
