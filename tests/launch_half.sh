#!/usr/bin/env bash
# What a user without the compiler gets: a small program linked with libtkcrt alone launches a saved
# kernel. Both forms of the library are small, and neither needs LLVM or the compiler.
#
#   tests/launch_half.sh STATIC_PROGRAM SHARED_LIBRARY FAKE_CUDA
set -euo pipefail
program=$1 library=$2 driver=$3 limit=$((300 * 1024)) failed=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for file in "$program" "$library"; do
  strip -o "$scratch/stripped" "$file"
  size=$(stat -c %s "$scratch/stripped")
  echo "$(basename "$file"): $size bytes stripped, at most $limit"
  ((size <= limit)) || failed=1
  if readelf -d "$file" | grep -E 'NEEDED.*(LLVM|libcuda|libtkc\.)'; then failed=1; fi
done
if nm -D --defined-only "$library" | awk '{print $3}' | grep -vE '^tkc_'; then
  echo "$(basename "$library") exports the above, which is not public"
  failed=1
fi
TKC_LIBCUDA=$driver "$program" || failed=1
((failed == 0))
