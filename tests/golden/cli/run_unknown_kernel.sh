tkc run kernels/untyped.tk::scala --grid 1
