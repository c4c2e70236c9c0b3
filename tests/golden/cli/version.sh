tkc --version
