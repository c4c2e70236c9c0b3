head -c 1000000 /dev/zero >$TMP/zeros.tk
tkc $TMP/zeros.tk 2>&1 | cut -c 1-200 | head -n 6
