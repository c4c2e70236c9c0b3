tkc check no/such/folder
