#!/usr/bin/env bash
# Every function of the language is named in lang/README.md: the rows of builtins.def that a kernel
# can write as tl.x, x.method or a Python builtin, and the functions of std.tk without a leading _.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0
names() {
  local modules='(TL|METHOD|PYTHON|TRITON|DESCRIPTOR)[A-Z| ]*' name='([A-Za-z][A-Za-z_0-9]*)'
  sed -nE "s/^BUILTIN\($modules, *([A-Za-z_0-9]+),.*/\2/p" lang/builtins.def
  sed -nE "s/^(def|class) $name.*/\2/p; s/^$name = .*/\1/p" lang/std.tk
}
count=0
while read -r name; do
  count=$((count + 1))
  if ! grep -qwF -- "$name" lang/README.md; then
    echo "lang/README.md does not mention \`$name\`"
    failed=1
  fi
done < <(names | sort -u)
if ((count < 200)); then
  echo "only $count names found: has the form of builtins.def changed?"
  failed=1
fi
exit "$failed"
