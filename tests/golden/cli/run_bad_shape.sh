for shape in 'f32' 'f32[4' 'f32[-1]' 'f32[4,x]' 'f32[4]]' 'f32[9999999999,9999999999]' 'f32[99999999999999999999]'; do
  tkc run kernels/copy.tk --grid 1 "x=ones:$shape" out=zeros:f32[4] n=4
done
