tkc run kernels/copy.tk x=ones:f32[4] out=zeros:f32[4] n=4
