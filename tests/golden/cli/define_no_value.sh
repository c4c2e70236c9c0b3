tkc kernels/copy.tk -D BLOCK
