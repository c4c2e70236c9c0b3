tkc kernels/copy.tk -o $TMP/out/ && ls $TMP/out && tkc $TMP/out/copy.tkir --passes=none | cmp - $TMP/out/copy.tkir
