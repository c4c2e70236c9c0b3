tkc help runn
