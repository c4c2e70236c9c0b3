. ./npy.bash
npy "'<f4'" False '(4,)' | head -c 40 >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy
