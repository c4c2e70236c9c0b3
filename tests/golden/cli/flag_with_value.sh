tkc kernels/copy.tk --time-passes=yes
