tkc check --help
