mkdir $TMP/empty; tkc check $TMP/empty
