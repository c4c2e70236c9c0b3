tkc kernels/copy.tk -n kopy
