#!/bin/sh
# SM: which architectures reach nvcc, what is said of those that do not, and that nvcc runs only when it must. nvcc is a
# script here that knows few architectures and records its arguments.
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
cd "$tree" || exit 1
objects=$(for f in lib/*.cu; do echo "${build%-cuda}-cuda/$f.o"; done)
files=$(echo "$objects" | wc -l)

# toolkit NAME VERSION CODE...
toolkit() {
    mkdir -p "$tmp/$1" && cat >"$tmp/$1/nvcc" <<END && chmod +x "$tmp/$1/nvcc"
#!/bin/sh
echo "\$*" >>"$tmp/log"
case \$1 in
--version) echo 'Cuda compilation tools, release $2, V$2.1' ;;
--list-gpu-code) printf 'sm_%s\n' $(shift 2 && echo "$@") ;;
*) while [ "\$1" != -o ]; do shift; done && : >"\$2" ;;
esac
END
}
toolkit new 13.0 75 80 86 87 88 89 90 100 110 103 120 121
toolkit old 12.4 50 60 70 75 80 86 87 89 90
toolkit oldest 11.0 52 60 70 75
# compile TOOLKIT ARGS...: all that is CUDA; the calls of nvcc are then in $tmp/log
compile() {
    : >"$tmp/log"
    nvcc=$tmp/$1/nvcc
    shift
    # shellcheck disable=SC2086 # a list
    mk -j2 CUDA=1 NVCC="$nvcc" "$@" $objects >"$tmp/out" 2>"$tmp/err"
}
compiled() { grep -c -e ' -c ' "$tmp/log"; }
# gencode: what was compiled for, in order; one line where all files were given the same
gencode() {
    grep -e ' -c ' "$tmp/log" | while read -r arguments; do
        echo "$arguments" | tr ' ' '\n' | sed -n 's/^arch=compute_\([0-9]*\),code=\(.*_\1\)$/\2/p' | paste -sd' '
    done | sort -u
}

# ---- nvcc does not run where it need not
: >"$tmp/log"
mk CUDA=0 NVCC="$tmp/new/nvcc" all >"$tmp/out" 2>"$tmp/err" && mk CUDA=0 NVCC="$tmp/new/nvcc" help >"$tmp/out" &&
    mk CUDA=0 NVCC="$tmp/new/nvcc" -n all >"$tmp/out" && [ ! -s "$tmp/log" ]
report $? 'CUDA=0: nvcc is not asked'
compile new -n && grep -q 'NVCC.*lib/backend_cuda.cu' "$tmp/out" && [ ! -s "$tmp/log" ]
report $? 'make -n CUDA=1: nvcc is not asked'
compile new -q
[ $? = 1 ] && [ ! -s "$tmp/log" ]
report $? 'make -q CUDA=1: to be built'

# ---- what reaches it
compile new && [ ! -s "$tmp/err" ] && [ "$(compiled)" = "$files" ] &&
    [ "$(gencode)" = 'sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 compute_120' ]
report $? "all six: $(gencode)"
[ "$(grep -c -e --list-gpu-code "$tmp/log")" = 1 ]
report $? 'it was asked for its architectures once'
compile new && [ ! -s "$tmp/log" ] && compile new -q && [ ! -s "$tmp/log" ]
report $? 'again: nothing to do, nvcc is not asked'
compile new SM='90 80' && [ ! -s "$tmp/err" ] && [ "$(compiled)" = "$files" ] &&
    [ "$(gencode)" = 'sm_80 sm_90 compute_90' ]
report $? "SM='90 80': $(gencode)"
compile old && [ "$(compiled)" = "$files" ] && [ "$(gencode)" = 'sm_80 sm_86 sm_89 sm_90 compute_90' ]
report $? "an old toolkit: $(gencode)"
[ "$(cat "$tmp/err")" = \
    'SM: CUDA 12.4 cannot target 100 120, left out; Blackwell (100, 120) needs CUDA 12.8 or newer' ]
report $? "one line: $(cat "$tmp/err")"
compile old && [ ! -s "$tmp/log" ] && [ ! -s "$tmp/err" ]
report $? 'again: nothing to do, nothing to say'
compile old SM='80 77' && [ "$(gencode)" = 'sm_80 compute_80' ] &&
    [ "$(cat "$tmp/err")" = 'SM: CUDA 12.4 cannot target 77, left out' ]
report $? "no word of Blackwell: $(cat "$tmp/err")"

# ---- refused
# refused TOOLKIT SM LINE
refused() {
    compile "$1" SM="$2"
    [ $? = 2 ] && [ "$(head -n 1 "$tmp/err")" = "$3" ] && [ "$(grep -cv '^make: ' "$tmp/err")" = 1 ] &&
        [ "$(compiled)" = 0 ]
    report $? "$(head -n 1 "$tmp/err")"
}
refused old '100 120' 'SM=100 120: CUDA 12.4 can target none of these; Blackwell (100, 120) needs CUDA 12.8 or newer'
refused oldest 80 'SM=80: CUDA 11.0 can target none of these'
for bad in 9o sm_90 9.0 90a 9 9000; do
    refused new "80 $bad" "SM=80 $bad: '$bad' is no architecture: say 90 for compute capability 9.0"
done
refused new '' 'SM is empty: it lists architectures, such as "80 90"'
refused nowhere 80 \
    "CUDA=1 needs the CUDA Toolkit, and '$tmp/nowhere/nvcc' does not run: set CUDA_HOME or NVCC"
compile new SM=9o
compile new SM=90 && [ "$(gencode)" = 'sm_90 compute_90' ]
report $? 'put right, it is built'
echo "1..$n"
