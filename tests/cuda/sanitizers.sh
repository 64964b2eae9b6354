#!/bin/sh
# The four tools of compute-sanitizer over a scoring run of the bundled model, six pairs: `make check-sanitizers` on a
# GPU host.
#
# racecheck does not know how cuBLASLt's newest kernels (algorithm 66, nvjet) hand over tiles in shared memory, and
# takes each for a race. So the run takes a table of other algorithms, as any run may: these sum in another order.
. tests/cli/scratch
tool=autoquant-score
skip() {
    echo "1..0 # SKIP $1"
    exit 0
}
command -v compute-sanitizer >/dev/null || skip 'no compute-sanitizer'
"$B/device-speed" --json cuda >"$D/out" 2>"$D/err" || skip "$(cat "$D/err")"

"$B/extract-lm" models/tiny_qwen3_vl -o "$D/lm.json" 2>"$D/err"
ok $? 'extract-lm'
"$B/calib-pack" -m models/tiny_qwen3_vl -n 16 -o "$D/calib" conf/dataset/sample_captions.txt 2>"$D/err"
ok $? 'calib-pack'
# score DIR COMMAND...: all six pairs, products by the table, into DIR
score() {
    dir=$1
    shift
    set -- "$@" "$B/$tool" --lm "$D/lm.json" --calib "$D/calib" --backend cuda --gemm-tables "$D/gemm"
    for pair in fp4_fp8 mxfp4_fp16 fp8_fp8 fp8_fp16 int8_fp16 int8_int8; do
        mkdir -p "$dir/$pair"
        set -- "$@" --cell "conf/quant_pair/$pair.yaml=$dir/$pair"
    done
    "$@" >"$D/out" 2>"$D/err"
}
"$B/bench/bench_gemm" --lm "$D/lm.json" --skip 66 --write "$D/gemm" >"$D/out" 2>"$D/err"
ok $? 'a table without nvjet'
score "$D/plain"
ok $? 'a run without a tool'
[ "$(jq '[.products[] | select(.source == "heuristic" and (.algorithm | startswith("42")))] | length' \
    "$D/plain/fp8_fp8/gemm.json")" = 0 ]
ok $? '  no product by nvjet'
for check in memcheck initcheck synccheck racecheck; do
    score "$D/$check" compute-sanitizer --tool "$check" --error-exitcode 9
    ok $? "$check finds nothing"
    grep -q 'SUMMARY: 0 \(errors\|hazards\)' "$D/out" "$D/err"
    ok $? '  and says so'
    for pair in "$D/plain"/*; do
        cmp "$pair/records.safetensors" "$D/$check/${pair##*/}/records.safetensors" 2>"$D/err"
        ok $? "  the records of ${pair##*/} are those of the run without it"
    done
done
echo "1..$n"
