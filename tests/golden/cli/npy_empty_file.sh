. ./npy.bash
: >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy
