{ printf '@triton.jit\ndef kernel(x: "*fp32", n: "i32"):\n'; for ((i = 1; i < 600; i++)); do printf "%${i}sif n:\n" ''; done; printf "%600spass\n" ''; } >$TMP/blocks.tk
tkc $TMP/blocks.tk
