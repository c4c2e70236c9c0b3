tkc - --emit=ast < kernels/copy.tk
