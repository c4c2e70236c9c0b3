tkc kernels/copy.tk --emit=irr
