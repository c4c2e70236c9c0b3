tkc kernels/untyped.tk -n scale -s '*fp16:16, fp32, i32, None, 64' -o $TMP/ && head -n 1 $TMP/scale.tkir
