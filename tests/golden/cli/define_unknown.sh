tkc kernels/copy.tk -D BLOK=4
