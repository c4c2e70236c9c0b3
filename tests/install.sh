#!/usr/bin/env bash
# What is installed works for a program outside this tree: through pkg-config and through CMake's
# find_package. Headers are plain C11 and clean with warnings on, in C++ too where there is one.
#
#   tests/install.sh BUILD_FOLDER C_COMPILER
set -euo pipefail
build=$(realpath -- "$1") compiler=$2
cd "$(dirname "${BASH_SOURCE[0]}")/install"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
run() { "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log"; echo "FAILED: $*"; exit 1; }; }

run cmake --install "$build" --prefix "$scratch/usr"
"$scratch/usr/bin/tkc" --version

pkgconfig=$(dirname "$(find "$scratch/usr" -name tkc.pc)")
read -ra flags <<<"$(PKG_CONFIG_PATH=$pkgconfig pkg-config --cflags --libs tkc)"
run "$compiler" -std=c11 -Wall -Wextra -Wpedantic -Werror add.c -o "$scratch/by-pkg-config" \
  "${flags[@]}"
"$scratch/by-pkg-config"

# The launch half alone, by its own name.
read -ra flags <<<"$(PKG_CONFIG_PATH=$pkgconfig pkg-config --cflags --libs tkcrt)"
sed 's|"runtime/tkc.h"|<tkc.h>|' ../launch_half.c >"$scratch/launch.c"
run "$compiler" -std=c11 -Wall -Wextra -Wpedantic -Werror "$scratch/launch.c" \
  -o "$scratch/launch" "${flags[@]}"

# The program in kernels/README.md.
sed -n '/^```c$/,/^```$/{//!p}' ../../kernels/README.md >"$scratch/sdpa.c"
[ "$(wc -l <"$scratch/sdpa.c")" -le 40 ] || { echo "FAILED: the example is over 40 lines"; exit 1; }

run cmake -S . -B "$scratch/build" -G Ninja -DCMAKE_C_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$scratch/usr" -DEXAMPLE="$scratch/sdpa.c"
run cmake --build "$scratch/build"
"$scratch/build/add"
"$scratch/build/sdpa"
"$scratch/build/causal_self_attention"

for header in tkc.h tkc_kernels.h; do
  echo "#include <$header>" >"$scratch/header.c"
  run "$compiler" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only \
    -I"$scratch/usr/include" "$scratch/header.c"
  if command -v g++ >/dev/null; then
    run g++ -x c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -I"$scratch/usr/include" \
      "$scratch/header.c"
  fi
done
