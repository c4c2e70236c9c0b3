{ echo 'kernel @deep(x: *f32, n: i1) {'; yes 'if n {' | head -n 100000; } >$TMP/deep.tkir
tkc $TMP/deep.tkir
