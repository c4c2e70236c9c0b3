#!/usr/bin/env bash
# Sources stay readable: no line over 100 columns, no file over 900 lines, no tabs, no blanks at the
# end of a line.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export LC_ALL=C.UTF-8
failed=0
report() {
  echo "$1"
  failed=$((failed + 1))
}
folders=(compiler lang runtime kernels tests tools)
mapfile -t files < <(find "${folders[@]}" -path tests/golden -prune -o -type f \
  \( -name '*.[chly]' -o -name '*.def' -o -name '*.sh' -o -path 'kernels/*.tk' \) -print | sort)
while read -r lines file; do
  if [[ "$file" != total ]] && ((lines > 900)); then
    report "$file: $lines lines; split it (limit 900)"
  fi
done < <(wc -l "${files[@]}")
find_lines() { # PATTERN WHAT
  while IFS=: read -r file line _; do report "$file:$line: $2"; done \
    < <(grep -nP -- "$1" "${files[@]}")
}
find_lines '^.{101,}' "more than 100 columns"
find_lines '\t' "tab"
find_lines ' +$' "blank at the end of the line"
((failed == 0))
