tkc kernels/copy.tk -o $TMP/ && tkc $TMP/copy.tkir -s '*fp32'
