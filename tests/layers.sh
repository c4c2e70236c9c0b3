#!/usr/bin/env bash
# The layers: compiler <- lang <- runtime <- kernels <- tests, tools. An include names its layer,
# and a file may include only its own layer and those to the left. Kernels' hosts are ordinary
# clients: they see the runtime's public header alone. LLVM headers appear only in the back ends.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
failed=0
report() {
  echo "$1"
  failed=$((failed + 1))
}

declare -A below=(
  [compiler]="compiler"
  [lang]="compiler lang"
  [runtime]="compiler lang runtime"
  [kernels]="runtime kernels"
  [tests]="compiler lang runtime kernels tests"
  [tools]="compiler lang runtime kernels tools"
)
generated='^([a-z]+_)?(lex|parse)\.h$' # made by flex and bison into the build folder

for layer in compiler lang runtime kernels tests tools; do
  while IFS=: read -r file line text; do
    included=$(sed -E 's/.*"([^"]*)".*/\1/' <<<"$text")
    if [[ "$included" =~ $generated ]]; then continue; fi
    owner=${included%%/*}
    # The demo compares with the references of the tests, which use nothing of the compiler.
    if [[ "$file" == tools/demo.c && "$included" == tests/reference.h ]]; then continue; fi
    if [[ "$included" != */* || " ${!below[*]} " != *" $owner "* ]]; then
      report "$file:$line: \"$included\" does not name its layer"
    elif [[ " ${below[$layer]} " != *" $owner "* ]]; then
      report "$file:$line: $layer may not include \"$included\""
    elif [[ $layer == kernels && $owner == runtime && $included != runtime/tkc.h ]]; then
      report "$file:$line: kernels see only \"runtime/tkc.h\" of the runtime"
    fi
  done < <(grep -rnE --include='*.[chly]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$layer")
done
while IFS=: read -r file line _; do
  case "$file" in
    compiler/gpu/* | compiler/cpu/*) ;;
    *) report "$file:$line: LLVM is for compiler/gpu and compiler/cpu only" ;;
  esac
done < <(grep -rnE --include='*.[chly]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]llvm' \
  compiler lang runtime kernels tests tools)
((failed == 0))
