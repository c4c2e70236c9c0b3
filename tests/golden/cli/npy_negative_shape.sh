. ./npy.bash
npy "'<f4'" False '(-4,)' >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy
