# The same seed gives the same numbers, another seed others.
one() { tkc run kernels/copy.tk --grid 1 x=$1 out=zeros:f32[4] n=4 --device interp -o x=$TMP/x.npy --seed $2 >$TMP/log; tail -c 16 $TMP/x.npy | od -An -tx1; }
one rand:f32[4] 0; one rand:f32[4] 0; one rand:f32[4] 1; one 'rand(5,6):f32[4]' 1; one randn:f32[4] 0
