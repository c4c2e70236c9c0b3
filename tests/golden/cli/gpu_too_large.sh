# What does not fit into a GPU is refused, with what is needed and what there is.
head='import triton\nimport triton.language as tl\n@triton.jit\ndef kernel(x: "*fp32", y: "*fp32"):\n'
body='    r = tl.arange(0, 256)\n    c = tl.arange(0, 1024)\n    v = tl.load(x + r[:, None] * 1024 + c)\n'
end='    tl.store(y + c[:, None] * 256 + r, tl.trans(v))\n'
printf "$head$body$end" >$TMP/large.tk
tkc $TMP/large.tk -t sm_80 --emit=placed
tkc $TMP/large.tk -t sm_120a --emit=ptx
tkc run $TMP/large.tk -g 1 -d emu:sm_90a x=zeros:f32[256,1024] y=zeros:f32[256,1024]
tkc kernels/copy.tk -t sm_90a --num-warps 64
