#!/usr/bin/env bash
# `tkbench seeds`: a table, its report, going on from the report, pictures and their page; and what
# it says when it is asked for what it has not.
#
#   tests/seeds.sh TKBENCH
set -euo pipefail
tkbench=$(realpath -- "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
fail() { echo "FAILED: $*"; exit 1; }

"$tkbench" seeds --quick --only nn.softmax --json report.json --profile >tables || fail "it runs"
for pass in forward backward; do
  grep -q "^### nn.Softmax, $pass" tables || fail "the table of $pass"
  grep -q "^| softmax_$pass | " tables || fail "the profile of $pass"
done
(($(grep -c '^| input=' tables) == 6)) || fail "six problems"
if grep -q ' - |' tables; then fail "every problem was measured"; fi

# Figures of the report are taken over, and appear as they were.
"$tkbench" seeds --quick --only nn.softmax --json report.json --resume >again || fail "it resumes"
diff <(grep '^| input=' tables) <(grep '^| input=' again) || fail "the same figures"
echo '{"rows": 7}' >broken.json
if "$tkbench" seeds --only nn.softmax --json broken.json --resume >/dev/null 2>error; then
  fail "a report that is none is refused"
fi
grep -q "broken.json is no report" error || fail "why it is refused"
if "$tkbench" seeds --only nonsense >/dev/null 2>error; then fail "there is no such table"; fi
grep -q "nonsense" error || fail "which table"
if "$tkbench" seeds --only nn.softmax --torch /bin/false >/dev/null 2>error; then
  fail "a Python without PyTorch is refused"
fi
grep -q -- "--torch /bin/false" error || fail "which Python"

if ! command -v gnuplot >/dev/null; then
  echo "no pictures: gnuplot is not installed"
  exit 0
fi
"$tkbench" seeds --quick --only nn.softmax --json report.json --resume --plot pictures >/dev/null ||
  fail "it draws"
for file in 004-nn-softmax-forward-time 004-nn-softmax-backward-time; do
  grep -q '</svg>' "pictures/$file.svg" || fail "the picture $file"
  grep -q "$file.svg" pictures/index.html || fail "$file is on the page"
done
grep -q '^| input=' pictures/tables.md || fail "the tables are beside it"
