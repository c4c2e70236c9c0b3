tkc run kernels/untyped.tk --grid 1
