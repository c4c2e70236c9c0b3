# Big-endian numbers are swapped, not misread: 1 2 3 4.
. ./npy.bash
{ npy "'>f4'" False '(4,)'; printf '\x3f\x80\0\0\x40\0\0\0\x40\x40\0\0\x40\x80\0\0'; } >$TMP/x.npy
tkc run $copy x=@$TMP/x.npy -o out=$TMP/out.npy && tail -c 16 $TMP/out.npy | od -An -tx1
