for value in 'full:f32[4]' 'full(x):f32[4]' 'full(1,2):f32[4]' 'zeros(1):f32[4]' 'rand(1' 'randn()' 'rand(1)f32[4]'; do
  tkc run kernels/copy.tk --grid 1 "x=$value" out=zeros:f32[4] n=4
done
