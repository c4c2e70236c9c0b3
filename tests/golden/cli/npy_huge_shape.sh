. ./npy.bash
npy "'<f4'" False '(4294967296, 4294967296, 4)' >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy
