tkc run no/such/file.tk::kernel --grid 1
