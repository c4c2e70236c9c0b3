tkc run kernels/copy.tk --grid 1 x=ones:f32[4] out=poison:f32[4] n=4 --device interp --json $TMP/r.json >$TMP/log && sed -E '/_ms|gb_per/s/[0-9][0-9.e-]*/N/' $TMP/r.json
