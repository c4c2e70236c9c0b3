tkc kernels/untyped.tk
