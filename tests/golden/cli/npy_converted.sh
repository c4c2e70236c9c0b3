# f16 numbers become f32 when the value says so.
. ./npy.bash
{ npy "'<f2'" False '(4,)'; printf '\0\x3c\0\x40\0\x42\0\x44'; } >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy:f32 -o out=$TMP/out.npy && tail -c 16 $TMP/out.npy | od -An -tx1
tkc run $copy x=@$TMP/x.npy
