tkc kernels
