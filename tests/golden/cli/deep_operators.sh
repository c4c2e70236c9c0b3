{ printf '@triton.jit\ndef kernel(x: "*fp32"):\n    y = '; yes -- '-' | head -n 100000 | tr -d '\n'; printf '1\n'; } >$TMP/minus.tk
tkc $TMP/minus.tk
{ printf '@triton.jit\ndef kernel(x: "*fp32"):\n    y = x'; yes -- '.a' | head -n 100000 | tr -d '\n'; printf '\n'; } >$TMP/dots.tk
tkc $TMP/dots.tk
{ printf '@triton.jit\ndef kernel(x: "*fp32"):\n    y = 1'; yes -- '**1' | head -n 100000 | tr -d '\n'; printf '\n'; } >$TMP/powers.tk
tkc $TMP/powers.tk
