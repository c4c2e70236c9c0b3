#!/usr/bin/env bash
# ptxas.sh TKC HOST_PTX [compile]: every kernel of kernels/, for each generation of GPU, as the
# command line makes it and as the hosts ask for it, is taken by ptxas and spills no register.
# `compile`: they are made and not assembled; what a sanitizer has to see ends there.
# Skipped (77) where there is no ptxas, or no LLVM in this build.
set -u
tkc=$1
host_ptx=$2
only=${3:-}
ptxas=$(command -v ptxas || ls /usr/local/cuda/bin/ptxas 2>/dev/null)
if [ -z "$ptxas" ] && [ "$only" != compile ]; then
    echo "skipped: no ptxas (CUDA toolkit) is installed"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$tkc" kernels/vector_add.tk -t sm_80 --emit=ptx -o "$folder/probe.ptx" 2>"$folder/why"
if grep -q "without LLVM" "$folder/why"; then
    echo "skipped: $(head -1 "$folder/why")"
    exit 77
fi
failed=0

# Kernel files have annotations for all parameters of their kernels; other files have helpers.
compile_files() {
    local file name
    for file in kernels/*.tk; do
        name=$(basename "$file" .tk)
        grep -q '": *"\*\|: "\*' "$file" || continue
        mkdir -p "$folder/$1/$name"
        if ! "$tkc" "$file" -t "$1" --emit=ptx -o "$folder/$1/$name/" 2>"$folder/log"; then
            echo "tkc $file -t $1 failed"
            head -5 "$folder/log"
            failed=1
        fi
    done
}

for target in sm_80 sm_90a sm_100a sm_120a; do
    mkdir -p "$folder/$target/hosts"
    compile_files $target
    "$host_ptx" $target "$folder/$target/hosts" few >"$folder/log" 2>&1 || {
        cat "$folder/log"
        failed=1
    }
done

if [ "$only" = compile ]; then
    echo "$(find "$folder" -name '*.ptx' -path '*/sm_*' | wc -l) kernels compiled"
    exit $failed
fi

# assemble PTX: one line when ptxas refuses it or spills
assemble() {
    local target
    target=$(echo "$1" | grep -o 'sm_[0-9a]*' | head -1)
    if ! "$ptxas" -v -arch="$target" "$1" -o /dev/null >"$1.log" 2>&1; then
        echo "${1#"$folder"/}: ptxas failed: $(head -2 "$1.log")"
    elif ! grep -q " 0 bytes spill stores, 0 bytes spill loads" "$1.log"; then
        echo "${1#"$folder"/}: $(grep -o '[0-9]* bytes spill stores' "$1.log")"
    fi
}
export -f assemble
export ptxas folder
find "$folder" -name '*.ptx' -path '*/sm_*' | sort |
    xargs -P "$(nproc)" -I{} bash -c 'assemble {}' >"$folder/complaints"
cat "$folder/complaints"
[ -s "$folder/complaints" ] && failed=1
echo "$(find "$folder" -name '*.ptx' -path '*/sm_*' | wc -l) kernels assembled"
exit $failed
