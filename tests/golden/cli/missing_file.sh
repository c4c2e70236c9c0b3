tkc no/such/file.tk
