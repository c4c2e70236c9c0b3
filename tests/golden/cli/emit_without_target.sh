tkc kernels/copy.tk --emit=ptx
