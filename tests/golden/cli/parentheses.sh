# 100,000 nested parentheses.
{ printf '@triton.jit\ndef kernel(x: "*fp32"):\n    y = '; head -c 100000 /dev/zero | tr '\0' '('; printf '1'
  head -c 100000 /dev/zero | tr '\0' ')'; printf '\n'; } >$TMP/deep.tk
tkc $TMP/deep.tk
