#!/bin/sh
# nvcc's flags for GPU architectures: machine code for each that it can target, and PTX of the newest of these, which
# the driver compiles for GPUs that came later. What is left out is said on stderr.
# Usage: sh conf/cuda-archs.sh NVCC "80 90 ..." (90 is compute capability 9.0). Exits 1 where no architecture remains.
nvcc=$1 wanted=$2
fail() {
    echo "$1" >&2
    exit 1
}
[ -n "$wanted" ] || fail 'SM is empty: it lists architectures, such as "80 90"'
for a in $wanted; do
    case $a in
    *[!0-9]* | ? | ????*) fail "SM=$wanted: '$a' is no architecture: say 90 for compute capability 9.0" ;;
    esac
done
# shellcheck disable=SC2086 # NVCC may be a command and its arguments; codes are words
known=$($nvcc --list-gpu-code 2>/dev/null | tr "\n" " ")
[ -n "$known" ] || fail "CUDA=1 needs the CUDA Toolkit, and '$nvcc' does not run: set CUDA_HOME or NVCC"
version=$($nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
here='' missing='' blackwell=''
for a in $(printf '%s\n' $wanted | sort -nu); do
    case " $known " in
    *" sm_$a "*) here="$here $a" ;;
    *)
        missing="$missing $a"
        case $a in 1[02]?) blackwell='; Blackwell (100, 120) needs CUDA 12.8 or newer' ;; esac
        ;;
    esac
done
[ -n "$here" ] || fail "SM=$wanted: CUDA $version can target none of these$blackwell"
[ -z "$missing" ] || echo "SM: CUDA $version cannot target$missing, left out$blackwell" >&2
for a in $here; do
    printf '%s ' "-gencode arch=compute_$a,code=sm_$a"
done
echo "-gencode arch=compute_$a,code=compute_$a"
