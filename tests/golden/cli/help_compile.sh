tkc help compile
