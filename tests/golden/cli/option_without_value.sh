tkc kernels/copy.tk --emit
