. ./npy.bash
{ npy "[('a', '<f4'), ('b', '<i4')]" False '(4,)'; head -c 32 /dev/zero; } >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy
