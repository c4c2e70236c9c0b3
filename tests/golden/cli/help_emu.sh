tkc help emu
