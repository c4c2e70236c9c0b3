#!/usr/bin/env bash
# What the libraries may not do: keep state outside the objects they are given, print, or end the
# process. Looks at the symbols of each archive.
#
#   tests/symbols.sh LIBRARY.a...
set -uo pipefail
if (($# == 0)); then sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
failed=0

# Objects in writable sections (.data.rel.ro is constant after loading). Allowed, with the reason:
#   tkc_last_error_*   the text of the calling thread's last error, thread-local (runtime/tkc.h)
allowed_state='^tkc_last_error_'
# `snprintf` and friends write to memory and are fine.
forbidden='^(_?exit|_Exit|quick_exit|abort|v?f?printf|v?dprintf|puts|fputs|putchar|putc|fputc'
forbidden+='|perror''|__(v?f?printf|v?dprintf)_chk|psignal|stdout|stderr|system|popen)$'

for library in "$@"; do
  if [[ ! -f "$library" ]]; then echo "symbols.sh: no $library" >&2; exit 2; fi
  while read -r section size name; do
    if ((16#$size == 0)) || [[ "$name" =~ $allowed_state ]]; then continue; fi
    echo "$(basename "$library"): \`$name\` is mutable state outside any object ($section)"
    failed=$((failed + 1))
  done < <(objdump -t "$library" |
    sed -nE 's/^[0-9a-f]+ .{7} ([^[:space:]]+)\t([0-9a-f]+) +(.*)$/\1 \2 \3/p' |
    grep -E '^(\.t?data|\.t?bss|\*COM\*)' | grep -v '^\.data\.rel\.ro')
  while read -r object name; do
    if [[ "$name" =~ $forbidden ]]; then
      echo "$(basename "$library"): ${object##*:} uses \`$name\`"
      failed=$((failed + 1))
    fi
  done < <(nm -A --undefined-only "$library" | sed -E 's/^(.*):[[:space:]]+U /\1 /')
done
((failed == 0))
