tkc run ../../../kernels/vector_add.tk::vector_add --grid 98 x=randn:f32[100000] y=randn:f32[100000] out=poison:f32[100000] n=100001 BLOCK=1024 --device interp -o out=$TMP/out.npy
