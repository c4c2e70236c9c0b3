tkc run kernels/copy.tk --grid 1 x=1 out=zeros:f32[4] n=4
