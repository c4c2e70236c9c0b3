printf 'import triton\nimport triton.language as tl\n@triton.jit\ndef good(x):\n    tl.store(x, 1.0)\n\n\n@triton.jit\ndef bad(x):\n    tl.stor(x, one)\n' >$TMP/a.tk
printf 'import triton\nimport triton.language as tl\n@triton.jit\ndef broken(x):\n    y = = 1\n' >$TMP/b.py
tkc check $TMP
