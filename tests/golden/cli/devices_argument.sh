tkc devices all
