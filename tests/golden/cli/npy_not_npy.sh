. ./npy.bash
echo 'hello' >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy
