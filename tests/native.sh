#!/usr/bin/env bash
# Kernels compiled to an object file run in a program that has the launch half alone: for this
# machine and for a lower level of processor.
#
#   tests/native.sh TKC LIBTKCRT C_COMPILER
set -euo pipefail
tkc=$(realpath -- "$1") library=$(realpath -- "$2") compiler=$3
cd "$(dirname "${BASH_SOURCE[0]}")/native"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
mkdir "$scratch/include"
cp ../../runtime/tkc.h "$scratch/include/"

if ! "$tkc" devices | grep -q '^cpu *yes'; then
  echo "skipped: $("$tkc" devices | grep '^cpu')"
  exit 77
fi
targets=(cpu)
if [[ "$(uname -m)" == x86_64 ]] && grep -qw avx2 /proc/cpuinfo; then
  targets+=(cpu:x86-64-v3 cpu:x86-64-v2)
fi
for target in "${targets[@]}"; do
  for kernel in scale product; do
    "$tkc" scale.tk -n "$kernel" -t "$target" --emit=obj -o "$scratch/$kernel.o"
  done
  "$compiler" -std=c11 -Wall -Wextra -Werror -I"$scratch/include" main.c "$scratch/scale.o" \
    "$scratch/product.o" "$library" -lm -lpthread -ldl -o "$scratch/main"
  if nm "$scratch/main" | grep -qi llvm; then fail "the program has parts of LLVM"; fi
  "$scratch/main" || fail "$target"
done
if "$tkc" scale.tk -n scale -t cpu:pentium --emit=obj -o "$scratch/x.o" 2>"$scratch/error"; then
  fail "an unknown processor is refused"
fi
grep -q 'pentium' "$scratch/error" || fail "which processor"
echo "${targets[*]}"
