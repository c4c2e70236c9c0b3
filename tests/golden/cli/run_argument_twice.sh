tkc run kernels/copy.tk --grid 1 x=ones:f32[4] out=zeros:f32[4] n=4 n=5
