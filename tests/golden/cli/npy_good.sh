. ./npy.bash
{ npy "'<f4'" False '(4,)'; printf '\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40'; } >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy -o out=$TMP/out.npy && tail -c 16 $TMP/out.npy | od -An -tx1
