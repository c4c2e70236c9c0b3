tkc chekc kernels
