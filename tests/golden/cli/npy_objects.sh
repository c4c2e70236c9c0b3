. ./npy.bash
{ npy "'|O'" False '(4,)'; printf 'anything that a pickle may hold'; } >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy
