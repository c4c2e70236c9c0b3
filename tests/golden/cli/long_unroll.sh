# An endless unrolling ends in a message, not in swapping.
head='import triton\nimport triton.language as tl\n@triton.jit\ndef kernel(x: "*fp32"):\n'
printf "$head    for i in tl.static_range(0, 1 << 40):\n        tl.store(x + i, 1.0)\n" >$TMP/unroll.tk
tkc $TMP/unroll.tk
