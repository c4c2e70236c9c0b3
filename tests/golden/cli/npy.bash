# npy DESCR FORTRAN SHAPE: the head of a .npy file, format 1.0; the data follow from elsewhere.
npy() {
  local head="{'descr': $1, 'fortran_order': $2, 'shape': $3, }"
  while (((${#head} + 11) % 64 != 0)); do head+=' '; done
  local length=$((${#head} + 1))
  printf '\x93NUMPY\x01\x00'
  printf "\\x$(printf %02x $((length % 256)))\\x$(printf %02x $((length / 256)))"
  printf '%s\n' "$head"
}
copy='kernels/copy.tk::copy --grid 1 out=zeros:f32[4] n=4 --device interp'
