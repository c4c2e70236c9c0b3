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
while IFS= read -r file; do
  lines=$(wc -l <"$file")
  if ((lines > 900)); then report "$file: $lines lines; split it (limit 900)"; fi
  while IFS= read -r line; do report "$file:$line: more than 100 columns"; done \
    < <(grep -nE '^.{101,}' "$file" | cut -d: -f1)
  while IFS= read -r line; do report "$file:$line: tab"; done \
    < <(grep -nP '\t' "$file" | cut -d: -f1)
  while IFS= read -r line; do report "$file:$line: blank at the end of the line"; done \
    < <(grep -nE ' +$' "$file" | cut -d: -f1)
done < <(find "${folders[@]}" -path tests/golden -prune -o -type f \
  \( -name '*.[chly]' -o -name '*.def' -o -name '*.sh' -o -path 'kernels/*.tk' \) -print | sort)
((failed == 0))
