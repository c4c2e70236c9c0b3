tkc kernels/copy.tk --dump-after=cse --stop-after=cse -o $TMP/ 2>&1 | head -n 2
