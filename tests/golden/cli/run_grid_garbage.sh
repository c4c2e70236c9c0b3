tkc run kernels/copy.tk --grid 1x2 x=ones:f32[4] out=zeros:f32[4] n=4
