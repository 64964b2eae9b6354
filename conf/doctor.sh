#!/bin/sh
# What is installed, and whether model and captions are found. Usage: sh conf/doctor.sh BUILD_DIR MODEL DATASET
# Exits 1 if something that is needed is missing.
build=$1 model=$2 dataset=$3
bad=0
line() { printf '%-12s %s\n' "$1" "$2"; }
missing() {
    line "$1" "MISSING: $2"
    bad=1
}
for p in make cc ar objcopy jq prove git; do
    if command -v "$p" >/dev/null; then
        case $p in
        make | cc | git | jq) line "$p" "$("$p" --version 2>&1 | head -n 1)" ;;
        *) line "$p" "$(command -v "$p")" ;;
        esac
    elif [ "$p" = prove ] || [ "$p" = git ]; then
        line "$p" 'not installed (only tests need it)'
    else
        missing "$p" 'run `make deps`'
    fi
done
if [ -x "$build/autoquant-score" ]; then
    line programs "$("$build/autoquant-score" --version)"
    line blas "$(ldd "$build/autoquant-score" | sed -n 's/.*lib\([a-z]*blas[^ ]*\) => \([^ ]*\).*/\2/p' | head -n 1)"
else
    line programs "not built in $build yet: run \`make\`"
fi
line processor "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) available"
line memory "$(awk '/^Mem(Total|Available)/ { printf "%s %.1f GB  ", $1, $2 / 1e6 }' /proc/meminfo)"
line disk "$(df -Pk . | awk 'NR == 2 { printf "%.1f GB free on %s", $4 / 1e6, $6 }')"
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    nvidia-smi --query-gpu=name,memory.total,driver_version,compute_cap --format=csv,noheader | while read -r gpu; do
        line gpu "$gpu"
    done
else
    line gpu 'none found (BACKEND=cpu works without)'
fi
if command -v nvcc >/dev/null; then
    line cuda "$(nvcc --version | sed -n 's/.*release/toolkit release/p')"
else
    line cuda 'no toolkit (only CUDA=1 needs it; 12.0 or newer, 12.8 or newer for Blackwell)'
fi
if [ -x "$build/compose-config" ]; then
    if out=$("$build/compose-config" --model "$model" --dataset "$dataset" --print 2>&1); then
        line model "$(printf '%s\n' "$out" | sed -n '/^model:/,/^[^ ]/s/^  path: //p')"
        line captions "$(printf '%s\n' "$out" | sed -n '/^dataset:/,/^[^ ]/s/^  captions: //p')"
    else
        missing model "$out"
    fi
fi
exit $bad
