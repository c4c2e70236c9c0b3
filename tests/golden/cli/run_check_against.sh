tkc run kernels/copy.tk --grid 1 x=randn:f32[16] out=zeros:f32[16] n=16 --device interp --check-against interp
