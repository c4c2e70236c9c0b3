tkc run kernels/copy.tk --grid 1 x=ones:f32[4] out=poison:f32[4] n=4 --repeat 5 --device interp
