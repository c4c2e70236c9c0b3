tkc kernels/copy.tk -t cpu --emit=llvm | sed -n 's/^define/define/p' | cut -d'(' -f1
