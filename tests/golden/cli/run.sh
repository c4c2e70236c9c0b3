tkc run kernels/copy.tk --grid 7 x=arange:f32[100] out=poison:f32[100] n=100 --device interp -o out=$TMP/out.npy && tail -c 8 $TMP/out.npy | od -An -tx1
