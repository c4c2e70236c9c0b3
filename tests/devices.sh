#!/usr/bin/env bash
# Runs every case of devices/*.tk on native code and on the emulated PTX of two generations of GPU,
# with all checks on, and compares each tensor with what the interpreter computes. A case is a line
#
#     # run: KERNEL ARGUMENT...        (the arguments of `tkc run`)
#
#   tests/devices.sh TKC [DEVICE]...      default: cpu emu:sm_80 emu:sm_90a
set -uo pipefail
tkc=$(realpath -- "${1:?usage: tests/devices.sh TKC [DEVICE]...}") || exit 2
shift
devices=("${@:-}")
if [[ -z "${devices[0]}" ]]; then devices=(cpu emu:sm_80 emu:sm_90a); fi
cd "$(dirname "${BASH_SOURCE[0]}")/devices" || exit 2
export TKC_CACHE=

if ! "$tkc" devices | grep -q '^emu *yes'; then
  echo "skipped: $("$tkc" devices | grep '^emu')"
  exit 77
fi
# Says what went wrong, and nothing else.
check() { # DEVICE FILE WORDS
  local out
  local run="timeout 60 \"\$tkc\" run $2::$3 -d $1 --check-against interp --threads 1"
  out=$(eval "$run" 2>&1) && return
  echo "FAILED on $1: $2::$3"
  echo "$out" | head -n 12
  return 1
}
export -f check
export tkc
cases=$(grep -H '^# run: ' -- *.tk | sed 's/:# run: /\t/')
jobs=()
while IFS=$'\t' read -r file words; do
  for device in "${devices[@]}"; do jobs+=("$device" "$file" "$words"); done
done <<<"$cases"
printf '%s\0' "${jobs[@]}" | xargs -0 -n 3 -P 2 bash -c 'check "$@"' check
status=$?
echo "$(wc -l <<<"$cases") cases on ${devices[*]}"
exit $((status != 0))
