tkc help run
