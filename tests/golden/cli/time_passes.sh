tkc kernels/copy.tk --time-passes -o $TMP/ 2>&1 | sed -E 's/ +[0-9.]+ ms/ N ms/'
