tkc --help
