#!/usr/bin/env bash
# Golden tests: text in, text out, compared whole.
#
#   tests/golden.sh [--bless] TKC [STAGE | STAGE/CASE]...
#
# golden/STAGE/command holds the command of that stage, with `tkc` and `{in}`: it runs in the folder
# of the stage. A case is a file x.tk, x.py, x.tkir or x.sh with its expected output x.out: standard
# output and error together, and a last line `exit N` when the status was not 0. $TMP is an empty
# folder of the case, shown as TMP in the output. golden/STAGE/filter, where there is one, is a sed
# script that hides what may differ from run to run (times).
set -uo pipefail

bless=
if [[ "${1:-}" == --bless ]]; then bless=yes; shift; fi
if (($# < 1)); then sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
tkc=$(realpath -- "$1") || exit 2
shift
golden=$(cd "$(dirname "${BASH_SOURCE[0]}")/golden" && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"
ln -s "$tkc" "$scratch/bin/tkc"
export PATH="$scratch/bin:$PATH" LC_ALL=C NO_COLOR=1 TMP="$scratch/tmp"
ran=0 failed=0 written=0

run_case() { # STAGE INPUT
  local stage=$1 input=$2 name=${2%.*} command status
  command=$(<"$golden/$stage/command")
  rm -rf "$TMP"
  mkdir "$TMP"
  (cd "$golden/$stage" && timeout 120 bash -c "${command//\{in\}/$input}") \
    >"$scratch/raw" 2>&1 </dev/null
  status=$?
  sed "s|$TMP|TMP|g" "$scratch/raw" >"$scratch/out"
  if [[ -f "$golden/$stage/filter" ]]; then sed -i -E -f "$golden/$stage/filter" "$scratch/out"; fi
  if ((status != 0)); then echo "exit $status" >>"$scratch/out"; fi

  ran=$((ran + 1))
  local want=$golden/$stage/$name.out
  if [[ -n "$bless" ]]; then
    if ! cmp -s "$scratch/out" "$want"; then
      cp "$scratch/out" "$want"
      written=$((written + 1))
      echo "wrote $stage/$name.out"
    fi
  elif [[ ! -f "$want" ]]; then
    failed=$((failed + 1))
    echo "FAILED $stage/$name: no $name.out; see what it prints, then tools/bless $stage/$name"
  elif ! diff -u --label "$name.out" --label now "$want" "$scratch/out" >"$scratch/diff"; then
    failed=$((failed + 1))
    echo "FAILED $stage/$name"
    head -n 60 "$scratch/diff"
  fi
}

if (($# == 0)); then
  for file in "$golden"/*/command; do set -- "$@" "$(basename "$(dirname "$file")")"; done
fi
for what in "$@"; do
  stage=${what%%/*} only=
  if [[ "$what" == */* ]]; then only=${what#*/}; fi
  if [[ ! -f "$golden/$stage/command" ]]; then
    echo "golden.sh: no stage \`$stage\` in tests/golden" >&2
    exit 2
  fi
  before=$ran
  for file in "$golden/$stage"/*.{tk,py,tkir,sh}; do
    if [[ ! -f "$file" ]]; then continue; fi
    input=$(basename "$file")
    if [[ -z "$only" || "${input%.*}" == "${only%.*}" ]]; then run_case "$stage" "$input"; fi
  done
  if ((ran == before)); then
    echo "FAILED $what: no such case"
    failed=$((failed + 1))
  fi
  # An expected output whose case is gone would never be looked at again.
  for file in "$golden/$stage"/*.out; do
    if [[ -z "$only" && -f "$file" ]] && ! compgen -G "${file%.out}.[tps]*" >/dev/null; then
      echo "FAILED $stage: $(basename "$file") belongs to no case"
      failed=$((failed + 1))
    fi
  done
done

if [[ -n "$bless" ]]; then echo "$ran cases, $written outputs written"; else
  echo "$ran cases, $failed failed"
fi
((failed == 0))
