tkc kernels/copy.tk --zzz
