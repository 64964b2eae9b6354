#!/bin/sh
# What is installed, what computes here and how fast, and whether model and captions are found.
# Usage: sh conf/doctor.sh BUILD_DIR NVCC MODEL DATASET. Exits 1 if something that is needed is missing.
build=$1 nvcc=$2 model=$3 dataset=$4
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

# speed PROGRAM BACKEND: how fast it copies and multiplies, or why it does not
speed() {
    if out=$("$1" "$2" 2>&1); then
        line "$2 speed" "$(printf '%s\n' "$out" | sed -n 's/^\(copy\|GEMM\)  */\1 /p' | paste -sd, | sed 's/,/, /')"
    else
        line "$2 speed" "$(printf '%s\n' "$out" | sed 's/^device-speed: //')"
    fi
}
if [ -x "$build/device-speed" ]; then speed "$build/device-speed" cpu; fi

# ---- GPU. Nothing of it is needed: BACKEND=cpu works without.
toolkit='' targets='' takes='' capability=''
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    nvidia-smi --query-gpu=name,memory.total,driver_version,compute_cap --format=csv,noheader |
        sed 's/, \([^,]*\), \([^,]*\)$/, driver \1, compute capability \2/' |
        while read -r gpu; do line gpu "$gpu"; done
    takes=$(nvidia-smi | sed -n 's/.*CUDA[A-Za-z ]*Version: *\([0-9.]*\).*/\1/p' | head -n 1)
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
else
    line gpu 'none found (BACKEND=cpu works without)'
fi
if command -v "$nvcc" >/dev/null; then
    toolkit=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
    targets=$("$nvcc" --list-gpu-code | sed -n 's/^sm_\([0-9]*\)$/\1/p' | sort -n)
    line cuda "toolkit $toolkit, $nvcc"
else
    line cuda 'no toolkit (only CUDA=1 needs it; 12.0 or newer, 12.8 or newer for Blackwell)'
fi
if [ -n "$toolkit" ] && [ -n "$takes" ] && [ "${takes%%.*}" -lt "${toolkit%%.*}" ]; then
    line driver "too old: it takes CUDA $takes, toolkit $toolkit needs newer: update it, or use an older toolkit"
fi
if [ -n "$targets" ] && [ -n "$capability" ]; then
    # machine code runs on its own generation, which is all but the last digit
    known=
    for t in $targets; do [ "${t%?}" != "${capability%?}" ] || [ "$t" -gt "$capability" ] || known=$t; done
    case $capability in
    10[013] | 12?) needed='12.8 or newer' ;;
    11?) needed='13.0 or newer' ;;
    *) needed='a newer one' ;;
    esac
    [ -n "$known" ] || line gpu "newer than toolkit $toolkit: install CUDA $needed and build again"
fi
gpu_build=${build%-cuda}-cuda
if [ -x "$gpu_build/device-speed" ]; then
    [ "$gpu_build" = "$build" ] || line 'cuda build' "in $gpu_build: say CUDA=1 to use it"
    speed "$gpu_build/device-speed" cuda
elif [ -n "$capability" ]; then
    line 'cuda build' 'not built: run `make CUDA=1`'
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
