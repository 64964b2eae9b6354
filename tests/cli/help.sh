#!/bin/sh
# Every stage: --help, its example, --version, and what misuse says.
build=$(cd "${QSENS_BUILD_DIR:-tmp/build/release}" && pwd) || exit 1
top=$PWD
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0
ok() { # ok STATUS NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else
        echo "not ok $n - $2"
        head -n 5 "$tmp/err" | sed 's/^/# /'
    fi
}
# run CODE ARGS...: exit code, and one line on stderr where it is not 0
run() {
    want=$1
    shift
    "$build/$stage" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    if [ $rc = "$want" ] && [ "$want" = 0 ]; then [ ! -s "$tmp/err" ]; else
        [ $rc = "$want" ] && [ ! -s "$tmp/out" ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -q "^$stage: " "$tmp/err"
    fi
}

# The examples run in a directory that holds what they name, with the tools in the PATH.
mkdir "$tmp/tree" "$tmp/tree/tmp" && cd "$tmp/tree" || exit 1
ln -s "$top/conf" "$top/models" "$top/tests" .
"$build/extract-lm" -o tmp/lm.json models/tiny_qwen3_vl || exit 1
"$build/calib-pack" --model models/tiny_qwen3_vl -n 8 -o tmp/calib.safetensors conf/dataset/sample_captions.txt || exit 1
for part in '--calibrate' '--shard 1/2' '--shard 2/2'; do
    # shellcheck disable=SC2086 # words
    "$build/autoquant-score" --backend cpu --lm tmp/lm.json --calib tmp/calib.safetensors \
        --cell conf/quant_pair/fp8_fp16.yaml=tmp $part || exit 1
done
PATH=$build:$PATH

for source in "$top"/stages/*.c; do
    stage=$(basename "$source" .c)
    run 0 --help && grep -q "^$stage - " "$tmp/out" && grep -q "^usage: $stage " "$tmp/out"
    ok $? "$stage --help"
    cp "$tmp/out" "$tmp/help"
    run 0 -h && cmp -s "$tmp/out" "$tmp/help"
    ok $? "$stage -h is the same"
    awk 'length > 120' "$tmp/help" >"$tmp/err"
    [ ! -s "$tmp/err" ]
    ok $? "$stage --help fits into 120 columns"
    example=$(sed -n '/^example:/{n;s/^ *//p;}' "$tmp/help")
    case $example in *"$stage"*) sh -c "$example" >"$tmp/out" 2>"$tmp/err" ;; *) false ;; esac
    ok $? "example: $example"
    run 0 --version && [ "$(wc -l <"$tmp/out")" = 1 ] && grep -q "^$stage [0-9]*\.[0-9]*\.[0-9]* (commit " "$tmp/out"
    ok $? "$stage --version"
    run 2 --no-such-option && grep -q "unknown option '--no-such-option'; '$stage --help' lists" "$tmp/err"
    ok $? "$stage: an unknown option"
    run 2 -Z && grep -q "unknown option '-Z'" "$tmp/err"
    ok $? "$stage: an unknown letter"
    run 2
    ok $? "$stage without arguments: $(cat "$tmp/err")"
    run 2 --help=x && grep -q 'takes no value' "$tmp/err"
    ok $? "$stage: a value for a flag"
    run 1 @no-such-file && grep -q "cannot open 'no-such-file'" "$tmp/err"
    ok $? "$stage: arguments from a file that is not there"
    if [ -c /dev/full ]; then
        for option in --help --version; do
            "$build/$stage" $option >/dev/full 2>"$tmp/err"
            [ $? = 1 ] && grep -q "^$stage: cannot write 'standard output': No space left" "$tmp/err"
            ok $? "$stage $option: a full disk"
        done
    fi
    # every option is in the help once, with a word on it
    grep -o '^  [- ][a-zA-Z ][, ] --[a-z-]*' "$tmp/help" | sed 's/.*--//' | sort | uniq -d >"$tmp/err"
    [ ! -s "$tmp/err" ]
    ok $? "$stage: no option twice"
done
echo "1..$n"
