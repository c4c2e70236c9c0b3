tkc kernels/copy.tk -t sm_90a
