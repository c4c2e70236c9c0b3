#!/usr/bin/env bash
# ptxas.sh TKC: every kernel of kernels/, for each generation of GPU, is taken by ptxas. The
# configurations that hosts launch (strides known where the host knows them) spill no registers.
# Skipped (77) where there is no ptxas, or no LLVM in this build.
set -u
tkc=$1
ptxas=$(command -v ptxas || ls /usr/local/cuda/bin/ptxas 2>/dev/null)
if [ -z "$ptxas" ]; then
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
count=0

# assemble TARGET FOLDER SPILLS
assemble() {
    for ptx in "$2"/*.ptx; do
        [ -e "$ptx" ] || continue
        count=$((count + 1))
        if ! "$ptxas" -v -arch="$1" "$ptx" -o /dev/null >"$folder/log" 2>&1; then
            echo "$ptx for $1: ptxas failed"
            head -5 "$folder/log"
            failed=1
        elif [ "$3" = none ] &&
            ! grep -q " 0 bytes spill stores, 0 bytes spill loads" "$folder/log"; then
            echo "$ptx for $1: $(grep -o '[0-9]* bytes spill stores' "$folder/log")"
            failed=1
        fi
    done
}

# compile TARGET NAME SPILLS ARGUMENT...
compile() {
    local target=$1 out=$folder/$1/$2 spills=$3
    shift 3
    mkdir -p "$out"
    if ! "$tkc" "$@" -t "$target" --emit=ptx -o "$out/" 2>"$folder/log"; then
        echo "tkc $* -t $target failed"
        head -5 "$folder/log"
        failed=1
    fi
    assemble "$target" "$out" "$spills"
}

matmul="*fp16:16,*fp16:16,*fp16:16,i32:16,i32:16,i32:16,i32:16,1,i32:16,1,i32:16,1"
four="i64:16,i64:16,i32:16,1"
forward="*fp16:16,*fp16:16,*fp16:16,*fp16:16,*fp32:16,fp32,$four,$four,$four,$four"
forward="$forward,i32,i32,i32,i32,i32"
options="i32,i32,fp32,*fp32,u32,fp32,i64,None,None,*fp16:16,True,$four"
for target in sm_80 sm_90a sm_100a sm_120a; do
    for file in $(grep -l "^    [a-z_]*: \"" kernels/*.tk); do # the others are for imports
        spills=any
        ! grep -q "^from rows import" "$file" || spills=none # annotated as hosts launch them
        compile $target "$(basename "$file" .tk)" $spills "$file"
    done
    compile $target add none kernels/vector_add.tk
    compile $target softmax none kernels/softmax.tk
    compile $target mm none kernels/matmul.tk -n matmul -s "$matmul" -D EVEN_K=True
    compile $target mm_even none kernels/matmul.tk -n matmul -s "$matmul" -D EVEN_K=True \
        -D EVEN_MN=True
    for dim in 64 128; do
        compile $target attention_$dim none kernels/attention.tk -n attention_forward \
            -s "$forward" -D HEAD_DIM=$dim -D BLOCK_M=128 -D BLOCK_N=64 --num-warps 8
    done
done
# A window, a soft cap, slopes, dropout and bias, with padded dims.
compile sm_90a attention_options none kernels/attention.tk -n attention_forward \
    -s "$forward,False,72,'tf32',64,64,'softmax',$options" --num-warps 8
echo "$count kernels assembled"
exit $failed
