. ./npy.bash
{ npy "'<f4'" False '(4,)'; printf '\0\0\x80\x3f\0\0\0'; } >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy
