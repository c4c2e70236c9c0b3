. ./npy.bash
tkc run $copy x=@no/such.npy
