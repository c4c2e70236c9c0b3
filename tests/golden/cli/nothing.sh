tkc
