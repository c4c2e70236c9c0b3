#!/usr/bin/env bash
# The text form of the IR loses nothing: for every kernel of kernels/ and every golden file that
# compiles, what is printed, read back and printed again is the same text.
#
#   tests/round-trip.sh TKC
set -uo pipefail
tkc=$(realpath -- "${1:?usage: tests/round-trip.sh TKC}") || exit 2
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
texts=0 failed=0

for file in kernels/*.tk tests/golden/*/*.tk tests/golden/*/*.tkir; do
  if [[ ! -f "$file" ]]; then continue; fi
  # Files of kernels/ that declare no types hold functions for others to import.
  if [[ "$file" == kernels/* ]] && ! grep -q '^    [a-z_]*: "' "$file"; then continue; fi
  # Both the text as lowering leaves it and the text after all passes, one file a kernel.
  for passes in none all; do
    rm -rf "$scratch/ir"
    if ! "$tkc" "$file" --emit=ir --passes=$passes -o "$scratch/ir/" 2>"$scratch/err" >&2; then
      # Sources that are meant to be refused stand in the error stages; kernels never are.
      if [[ "$file" == kernels/* ]]; then
        echo "FAILED $file: does not compile"
        cat "$scratch/err"
        failed=$((failed + 1))
      fi
      continue
    fi
    for text in "$scratch"/ir/*.tkir; do
      texts=$((texts + 1))
      if ! "$tkc" "$text" --emit=ir --passes=none >"$scratch/again" 2>&1 ||
        ! diff -u "$text" "$scratch/again" >"$scratch/diff"; then
        echo "FAILED $file ($(basename "$text"), passes $passes)"
        head -n 20 "$scratch/diff" "$scratch/again"
        failed=$((failed + 1))
      fi
    done
  done
done
echo "$texts texts, $failed failed"
((failed == 0 && texts > 0))
