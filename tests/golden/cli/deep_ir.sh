{ echo 'kernel @deep(x: *f32, n: i1) {num_warps = 4, num_stages = 3, num_ctas = 1} {'; yes 'if %n {' | head -n 100000; } >$TMP/deep.tkir
tkc $TMP/deep.tkir
