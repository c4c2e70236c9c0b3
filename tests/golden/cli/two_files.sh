tkc kernels/copy.tk kernels/untyped.tk
