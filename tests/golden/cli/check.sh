tkc check kernels
