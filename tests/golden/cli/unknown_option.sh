tkc kernels/copy.tk --dump-aftr=all
