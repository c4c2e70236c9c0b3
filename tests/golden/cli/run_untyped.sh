tkc run kernels/untyped.tk::scale --grid 1 x=arange:bf16[4] s=0.5 n=4 bias=none BLOCK=4 --device interp -o x=$TMP/x.npy && tail -c 8 $TMP/x.npy | od -An -tx1
