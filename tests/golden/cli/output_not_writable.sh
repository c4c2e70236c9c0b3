tkc kernels/copy.tk -o /no/such/folder/out.tkir
