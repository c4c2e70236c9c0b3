tkc kernels/copy.tk --passes=cannon
