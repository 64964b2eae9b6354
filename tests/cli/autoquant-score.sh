#!/bin/sh
# autoquant-score: its outputs, that equal runs write equal bytes, and every way in which it refuses or fails.
B=$(cd "${QSENS_BUILD_DIR:-tmp/build/release}" && pwd) || exit 1
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
P=conf/quant_pair
M=models/tiny_qwen3_vl
LM=$T/lm.json C=$T/calib.safetensors O=$T/out
n=0 failed=0
report() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/# /' "$T/stderr"; failed=1; fi
}
# a backend that is named: auto says which it is
score() { "$B/autoquant-score" --backend cpu "$@" >"$T/stdout" 2>"$T/stderr"; }
pack() { "$B/calib-pack" -m "$M" "$@" conf/dataset/sample_captions.txt; }
holds() { jq -e "$2" "$1" >/dev/null; } # FILE FILTER
untimed() { jq -S 'del(.run)' "$1"; }
same() { # DIR DIR: records to the byte, scores but for the run
    cmp -s "$1/records.safetensors" "$2/records.safetensors" && untimed "$1/scores.json" >"$T/a" &&
        untimed "$2/scores.json" >"$T/b" && cmp -s "$T/a" "$T/b"
}
: >"$T/stderr"
"$B/extract-lm" -o "$LM" "$M" && pack -n 16 -o "$C"
report $? 'inputs'

# ---- outputs
score --lm "$LM" --calib "$C" --cell "$P/fp8_fp8.yaml=$O/a" --cell "$P/int4_fp16.yaml=$O/b" \
    --cell "$P/mxfp4_fp8.yaml=$O/c"
report $? 'three cells'
[ ! -s "$T/stdout" ] && [ ! -s "$T/stderr" ]
report $? 'nothing is printed'
[ "$(cd "$O" && echo */*)" = \
    'a/records.safetensors a/scores.json b/records.safetensors b/scores.json c/records.safetensors c/scores.json' ]
report $? 'two files each'
keys=$(jq -r 'keys_unsorted | join(" ")' "$O/a/scores.json")
[ "$keys" = 'format version pair granularity arithmetic inputs calibration loss score groups statistics run' ]
report $? "keys: $keys"
holds "$O/a/scores.json" '.groups | length == 25 and ([.[].members | length] | add) == 43 and .[0].name ==
    "model.language_model.layers.0.self_attn.q_proj" and .[24].name == "lm_head"'
report $? '25 groups of 43 units in model order'
holds "$O/a/scores.json" '. as $s | ([.groups[].score] | add) / .score - 1 | fabs < 1e-12 and
    all($s.groups[]; ([.members[].score] | add) == .score and .score > 0)'
report $? 'scores of members add up to their group, groups to the score'
holds "$O/a/scores.json" '.pair == {name: "fp8_fp8", modelopt_config: "FP8_DEFAULT_CFG", recipe_name: "FP8_DEFAULT_CFG",
    bits: 8, weight: "fp8/tensor", activation: "fp8/tensor"} and .arithmetic.dtype == "bf16" and
    .arithmetic.padding == "reference" and .arithmetic.backend == "cpu" and .arithmetic.block_batches == 8 and
    .granularity == "default"'
report $? 'what was scored, and how'
holds "$O/a/scores.json" '.calibration | .sequences == 16 and .batches == 2 and .batch_size == 8 and .seq_len == 512 and
    .rows == .real_tokens + 16 and .rows + .pad_tokens - 16 == 16 * 512 and .loss_tokens == .real_tokens and
    .score_sequences == 16 and .score_batches == 2 and .score_rows == .rows'
report $? 'counts of the calibration data'
estimates='def est($v): .low <= $v and $v <= .high and .se > 0; def ests($v): (.score | est($v)) and
    (.nats_per_token | est(.value)) and (.nats_per_sequence | est(.value));'
holds "$O/a/scores.json" "$estimates"' . as $s | .statistics | .sequences == 16 and .no_errors == null and
    .loss_tokens == $s.calibration.loss_tokens and (.total | ests($s.score)) and all($s.groups[]; .score as $g |
    (.statistics | ests($g)) and .members[].statistics.share < 1.01 and all(.members[]; .score as $m |
    .statistics | ests($m)))'
report $? 'errors of the total, of groups and of members'
holds "$O/a/scores.json" '[.groups[]] | sort_by(-.score) | [.[].statistics.rank] | [.[].value] == [range(1; 26)] and
    all(.[]; .low <= .value and .value <= .high) and .[0].band == 1 and .[24].band > 3'
report $? 'ranks, their intervals, bands'
holds "$O/a/scores.json" 'all(.groups[]; . as $g | $g.statistics.worst == ([.members[]] | max_by(.score)).unit)'
report $? 'the worst member of each group'
holds "$O/a/scores.json" '(.statistics.total.nats_per_token.value /
    ([.groups[].statistics.nats_per_token.value] | add) - 1 | fabs < 1e-12) and (.statistics |
    .total.nats_per_sequence.value * 16 / (.total.nats_per_token.value * .loss_tokens) - 1 | fabs < 1e-12)'
report $? 'nats add up, per sequence and per token'
pack -n 8 -o "$T/eight.safetensors" &&
    score --lm "$LM" --calib "$T/eight.safetensors" --dtype fp32 --cell "$P/fp8_fp8.yaml=$O/8" &&
    pack -n 8 --batch 2 -o "$T/twos.safetensors" &&
    score --lm "$LM" --calib "$T/twos.safetensors" --dtype fp32 --cell "$P/fp8_fp8.yaml=$O/2"
report $? 'the same captions in batches of 8 and of 2'
holds "$O/8/scores.json" '.score * .calibration.loss_tokens / 2 / .statistics.total.nats_per_token.value - 1
    | fabs < 1e-6'
report $? 'one batch: score = 2 nats per token / targets'
jq -s -e '(.[1].score / .[0].score > 3) and
    ([.[].statistics.total.nats_per_token.value] | .[1] / .[0] - 1 | fabs < 2e-3)' "$O/8/scores.json" "$O/2/scores.json" \
    >"$T/stdout"
report $? 'scores depend on the batch size, nats do not'
holds "$O/a/scores.json" '.run | .seconds > 0 and .threads > 0 and (.started | test("^20..-..-..T..:..:..Z$"))'
report $? 'the run'
nulls() { jq '[.groups[].members[] | select(.input_amax == null)] | length' "$1/scores.json"; }
[ "$(nulls "$O/a")" -eq 0 ] && [ "$(nulls "$O/b")" -eq 43 ] && [ "$(nulls "$O/c")" -eq 43 ]
report $? 'input maxima where scales are calibrated'
for d in a b c; do
    "$B/manifest" --lm "$LM" -o "$T/manifest.json" "$O/$d/scores.json" 2>"$T/stderr"
    report $? "manifest reads $d"
done
header=$(tail -c +9 "$O/a/records.safetensors" | head -c 900)
for part in '"format":"qsens-records"' '"weight":"fp8/tensor"' '"dtype":"bf16"' '"shape":[16,43]' '"shape":[2,43]'; do
    case $header in (*"$part"*) report 0 "records: $part" ;; (*) report 1 "records: $part" ;; esac
done

# ---- where the time went
score --profile --lm "$LM" --calib "$C" --cell "$P/fp8_fp8.yaml=$O/p" --cell "$P/fp8_fp16.yaml=$O/p2" && same "$O/a" "$O/p"
report $? '--profile changes no result'
# phases begin in the first column; their milliseconds stand in columns 55 to 64
awk 'NR == 1 { wall = 1000 * $3 } NR > 2 && /^[a-z]/ { sum += substr($0, 55, 10) } NR > 2 && /^ / { ops += substr($0, 55, 10) }
    /^(start|waiting|finish)/ { host += substr($0, 55, 10) } # a busy disk is waited for
    END { exit !(wall > 0 && sum > 0.95 * wall && sum < 1.05 * wall && ops > 0.5 * (wall - host) && ops <= sum) }' "$T/stderr"
report $? 'its phases add up to the time of the run within 5 %'
awk '/^(forward|head|recompute|backward|quantize|fp8\/tensor x fp8\/tensor|fp8\/tensor x none) / { n++ } END { exit n != 7 }' "$T/stderr"
report $? 'every phase and every replay has its line'

# ---- equal runs, equal bytes
cp -r "$O" "$T/first"
score --lm "$LM" --calib "$C" -j 1 --cell "$P/fp8_fp8.yaml=$O/a" && same "$O/a" "$T/first/a"
report $? 'again, alone and with one thread'
score --lm "$LM" --calib "$C" --pass-blocks 1 --block 8 --cell "$P/int4_fp16.yaml=$O/b" --cell "$P/fp8_fp8.yaml=$O/d" &&
    same "$O/b" "$T/first/b" && same "$O/d" "$T/first/a"
report $? 'other cells beside it'
score --lm "$LM" --calib "$C" --score-size 8 --granularity mine --cell "$P/fp8_fp8.yaml=$O/e" &&
    holds "$O/e/scores.json" '.calibration.score_sequences == 8 and .calibration.sequences == 16 and
        .granularity == "mine"'
report $? '--score-size, --granularity'
score --lm "$LM" --calib "$C" --dtype fp32 --cell "$P/fp8_fp8.yaml=$O/f" &&
    holds "$O/f/scores.json" '.arithmetic.dtype == "fp32"' && ! same "$O/f" "$O/a"
report $? '--dtype fp32'
printf '%s\n' --lm "$LM" --calib "$C" --cell "$P/fp8_fp8.yaml=$O/g" >"$T/args"
score "@$T/args" && same "$O/g" "$T/first/a"
report $? 'arguments from a file'
pack -n 3 --padding none -o "$T/none.safetensors" && pack -n 1 -o "$T/one.safetensors" &&
    score --lm "$LM" --calib "$T/none.safetensors" --padding none --cell "$P/fp8_fp8.yaml=$O/h" &&
    holds "$O/h/scores.json" '.arithmetic.padding == "none" and .calibration.rows == .calibration.real_tokens'
report $? '--padding none'
score -v --lm "$LM" --calib "$T/one.safetensors" --backend ref --cell "$P/int8_fp16.yaml=$O/i" &&
    holds "$O/i/scores.json" '.arithmetic.backend == "ref"' &&
    grep -q 'backend ref, .* rows calibrated' "$T/stderr"
report $? '--backend ref, -v'

# ---- split
score --lm "$LM" --calib "$C" --split --cell "$P/fp8_fp8.yaml=$O/s" --cell "$P/int4_fp16.yaml=$O/t" &&
    cmp -s "$O/s/records.safetensors" "$T/first/a/records.safetensors" && same "$O/t" "$T/first/b" &&
    untimed "$O/s/scores.json" | jq -S 'del(.split, .groups[].split, .groups[].members[].split)' >"$T/a" &&
    untimed "$T/first/a/scores.json" >"$T/b" && cmp -s "$T/a" "$T/b"
report $? '--split changes nothing else, and nothing of a pair that leaves activations alone'
score --lm "$LM" --calib "$C" --cell "$P/fp8_fp16.yaml=$O/u" && jq -s -e '[.[0].groups[].split.weight] ==
    [.[1].groups[].score] and .[0].split.weight == .[1].score' "$O/s/scores.json" "$O/u/scores.json" >"$T/stdout"
report $? 'the part of the weights is the score of the weight-only pair'
holds "$O/s/scores.json" 'all(., .groups[], .groups[].members[]; .score as $s | .split | .activation > 0 and
    ((.weight + .activation + .interaction) / $s - 1 | fabs < 1e-9) and .interaction_share == .interaction / $s)'
report $? 'parts and interaction make the score'
"$B/manifest" --lm "$LM" -o "$T/manifest.json" "$O/s/scores.json" 2>"$T/stderr" &&
    "$B/report-md" "$T/manifest.json" >"$T/report.md" && "$B/report-json" "$T/manifest.json" >"$T/report.json" &&
    grep -q '^## Error Bars$' "$T/report.md" && grep -q '^## Weights and Activations$' "$T/report.md" &&
    [ "$(grep -c '^|.* to .*|.* to .*|' "$T/report.md")" -eq 25 ]
report $? 'a manifest and reports of it'
jq -s -e '.[1].qsens as $r | .[0] | $r.statistics == .statistics and $r.split == .split and
    ([.groups[] | {name, statistics, split, members}] | sort_by(.name)) ==
    ([$r.groups[] | {name, statistics, split, members}] | sort_by(.name)) and
    all($r.groups[]; .rank == .statistics.rank.value and (.share - .statistics.share | fabs < 1e-12))' \
    "$O/s/scores.json" "$T/report.json" >"$T/stdout"
report $? 'the JSON report passes everything on'
score --lm "$LM" --calib "$T/one.safetensors" --cell "$P/fp8_fp8.yaml=$O/v" && holds "$O/v/scores.json" \
    '.statistics.no_errors == "one sequence was scored: errors need two or more" and
    all(.groups[].statistics; .score == {se: null, low: null, high: null} and .rank.low == null and .rank.value > 0)' &&
    "$B/manifest" --lm "$LM" "$O/v/scores.json" | "$B/report-md" - >"$T/report.md" &&
    grep -q 'No errors are known: one sequence was scored' "$T/report.md"
report $? 'one sequence: no errors, and why'
# ---- choices of GEMM algorithms: none on the CPU; on a GPU what was used stands beside the records
echo old >"$O/a/gemm.json"
score --lm "$LM" --calib "$C" --backend cpu --gemm-tables conf/gemm --cell "$P/fp8_fp8.yaml=$O/a" &&
    same "$O/a" "$T/first/a" && [ ! -e "$O/a/gemm.json" ]
report $? '--gemm-tables changes nothing on the CPU; gemm.json of another run goes'
score --print-backend --backend cpu --gemm-tables conf/gemm && [ "$(cat "$T/stdout")" = cpu ]
report $? '--print-backend: cpu'
mkdir -p "$O/dir/gemm.json"
score --lm "$LM" --calib "$C" --backend cpu --cell "$P/fp8_fp8.yaml=$O/dir"
[ $? -eq 1 ] && grep -q "cannot remove '$O/dir/gemm.json'" "$T/stderr" && [ "$(cd "$O/dir" && echo *)" = 'gemm.json records.journal' ]
report $? 'a gemm.json that cannot be removed'
"$B/autoquant-score" --print-backend >"$T/backend" 2>"$T/stderr"
if grep -q '^cuda .*, cuBLASLt [0-9]*, table none$' "$T/backend"; then
    score --lm "$LM" --calib "$C" --backend cuda --cell "$P/fp8_fp8.yaml=$O/gpu" &&
        holds "$O/gpu/gemm.json" '.format == "qsens-gemm-used" and .table == null and (.products | length) > 5 and
            all(.products[]; .source == "heuristic" or .source == "kernel")' &&
        [ "$(jq -r .arithmetic.gemm_sha256 "$O/gpu/scores.json")" = "$(sha256sum <"$O/gpu/gemm.json" | cut -c -64)" ]
    report $? 'gemm.json of a GPU'
else
    n=$((n + 1))
    echo "ok $n - gemm.json of a GPU # SKIP the backend here is $(cat "$T/backend")"
fi

# ---- refused: exit code | part of the message | name | arguments, of which $cell is a good cell
# shellcheck disable=SC2034
cell="--cell $P/fp8_fp8.yaml=$O/x"
row() {
    code=$1 part=$2 name=$3
    eval "score $4"
    got=$?
    [ "$got" -eq "$code" ] && grep -qF -e "$part" "$T/stderr" && [ "$(wc -l <"$T/stderr")" -eq 1 ] &&
        [ ! -s "$T/stdout" ] && [ ! -e "$O/x" ]
    s=$?
    report $s "$name"
    [ $s -eq 0 ] || echo "# exit $got"
    rm -rf "$O/x"
}
good="--lm $LM --calib $C"
"$B/synth-model" -o "$T/small" --set vocab_size=300 && "$B/extract-lm" -o "$T/small.json" "$T/small"
report $? 'a model of another vocabulary'
cp -r "$M" "$T/touched" && "$B/extract-lm" -o "$T/touched.json" "$T/touched" && touch "$T/touched/model.safetensors"
cp -r "$M" "$T/gone" && "$B/extract-lm" -o "$T/gone.json" "$T/gone" && rm "$T/gone/model.safetensors"
cp -r "$M" "$T/cut" && "$B/extract-lm" -o "$T/cut.json" "$T/cut" &&
    head -c 99999 "$M/model.safetensors" >"$T/cut/model.safetensors"
sed 's/"sha256": "./"sha256": "x/' "$LM" >"$T/bad_hash.json"
head -c 5000 "$LM" >"$T/cut_lm.json"
: >"$T/empty"
head -c 700 "$C" >"$T/cut.safetensors"
sed 's/qsens-calib/qsens-balib/' "$C" >"$T/other.safetensors"
cp "$C" "$T/ids.safetensors" # the last byte of the last tensor
printf '\177' | dd of="$T/ids.safetensors" bs=1 seek=$(($(wc -c <"$C") - 1)) conv=notrunc 2>/dev/null
sed 's/format: fp8/format: fp9/' "$P/fp8_fp8.yaml" >"$T/bad.yaml"
while IFS='|' read -r code part name args; do
    row "$code" "$part" "$name" "$args"
done <<'END'
2|--lm, --calib and at least one --cell are needed|no arguments|
2|--lm, --calib and at least one --cell are needed|no cell|$good
2|--lm, --calib and at least one --cell are needed|no calib|--lm "$LM" $cell
2|unknown option '--frob'|unknown option|$good $cell --frob
2|unexpected argument 'x'|an operand|$good $cell x
2|--cell wants PAIR.yaml=DIR, not 'pair.yaml'|a cell without directory|$good --cell pair.yaml
2|--cell wants PAIR.yaml=DIR, not 'pair.yaml='|a cell with an empty directory|$good --cell pair.yaml=
2|--cell wants PAIR.yaml=DIR, not '=dir'|a cell without pair|$good --cell =dir
2|pairs 'fp8_fp8' and 'int8_fp8' would both be written to|two pairs, one directory|$good --cell "$P/fp8_fp8.yaml=$O/a" --cell "$P/int8_fp8.yaml=$O/./a/"
2|--dtype is bf16 or fp32, not 'fp16'|another dtype|$good $cell --dtype fp16
2|--padding is reference or none, not 'left'|another padding|$good $cell --padding left
2|was packed with padding 'reference', not 'none'|padding that calib-pack did not use|$good $cell --padding none
2|was packed with padding 'none', not 'reference'|and the other way round|--lm "$LM" --calib "$T/none.safetensors" $cell
2|there is no backend 'gpu': use auto, cpu, cuda or ref|another backend|$good $cell --backend gpu
2|limits the memory of a GPU; the backend is cpu|a GPU memory limit without a GPU|$good $cell --backend cpu --gpu-memory 4G
2|--block|a block of no batches|$good $cell --block 0
2|--score-size|a score size that is no number|$good $cell --score-size many
2|--pass-blocks|negative passes|$good $cell --pass-blocks -1
2|--threads|too many threads|$good $cell --threads 1000
2|bad.yaml:|an unknown format|$good --cell "$T/bad.yaml=$O/x"
1|cannot open '/nowhere.yaml'|no such pair|$good --cell /nowhere.yaml="$O/x"
1|cannot open '/nowhere.json'|no lm.json|--lm /nowhere.json --calib "$C" $cell
1|cannot open '/nowhere'|no calib|--lm "$LM" --calib /nowhere $cell
3|not valid JSON|lm.json is cut|--lm "$T/cut_lm.json" --calib "$C" $cell
3|not valid JSON|lm.json is empty|--lm "$T/empty" --calib "$C" $cell
3|not valid JSON|lm.json is the calib file|--lm "$C" --calib "$C" $cell
3|bad_hash.json|lm.json with another hash|--lm "$T/bad_hash.json" --calib "$C" $cell
3|too short for a safetensors file|calib is empty|--lm "$LM" --calib "$T/empty" $cell
3|does not fit the file|calib is lm.json|--lm "$LM" --calib "$LM" $cell
3|cut.safetensors'|calib is cut|--lm "$LM" --calib "$T/cut.safetensors" $cell
3|other.safetensors'|calib is something else|--lm "$LM" --calib "$T/other.safetensors" $cell
3|ids.safetensors'|calib with a changed byte|--lm "$LM" --calib "$T/ids.safetensors" $cell
3|model.safetensors'|calib is a checkpoint|--lm "$LM" --calib "$M/model.safetensors" $cell
1|changed since extract-lm looked at it: run extract-lm again|the checkpoint was touched|--lm "$T/touched.json" --calib "$C" --cell "$P/fp8_fp8.yaml=$O/y"
1|changed since extract-lm looked at it: run extract-lm again|the checkpoint was cut|--lm "$T/cut.json" --calib "$C" --cell "$P/fp8_fp8.yaml=$O/y"
1|cannot open|the checkpoint is gone|--lm "$T/gone.json" --calib "$C" --cell "$P/fp8_fp8.yaml=$O/y"
2|is outside the model's vocabulary of 300: the tokenizer is not this model's|another vocabulary|--lm "$T/small.json" --calib "$C" --cell "$P/fp8_fp8.yaml=$O/y"
1|cannot make directory|a directory under a file|$good --cell "$P/fp8_fp8.yaml=$T/empty/x"
1|cannot make directory|a directory that cannot be made|$good --cell "$P/fp8_fp8.yaml=/proc/x"
END
# ---- auto, and cuda in a program built without, on a host without device, or with one
if ! score --print-backend --backend cuda; then
    row 2 'this program was built without the backend cuda: build with `make CUDA=1`, or use cpu' 'cuda is not built in' \
        '$good $cell --backend cuda'
    picked='backend cpu: built without CUDA$'
elif score --print-backend --backend auto && [ "$(cat "$T/stdout")" = cpu ]; then
    row 1 'no usable CUDA device: ' 'cuda without a device' '$good $cell --backend cuda'
    row 1 '; --backend cpu works without' 'and what to do' '$good $cell --backend cuda'
    picked='backend cpu: no usable CUDA device: '
else
    picked='backend cuda: .*, [0-9]* GiB$'
fi
score $good --backend auto --cell "$P/fp8_fp8.yaml=$O/v" && grep -q "^autoquant-score: $picked" "$T/stderr" &&
    [ "$(wc -l <"$T/stderr")" = 1 ]
report $? "auto says $picked"
score --print-backend && [ ! -s "$T/stderr" ]
report $? '--print-backend says nothing else'
[ -z "$(ls "$O/y")" ]
report $? 'what failed later has written nothing'
score $good -v --cell "$P/fp8_fp8.yaml=$O/a" --cell "$P/fp8_fp16.yaml=/proc/x"
[ $? -eq 1 ] && ! grep -q 'rows calibrated' "$T/stderr"
report $? 'directories are looked at before the work'

# ---- overflow: a norm weight of 3e38
"$B/synth-model" --dtype f32 -o "$T/huge" && "$B/extract-lm" -o "$T/huge.json" "$T/huge" &&
    at=$(jq '.tensors[] | select(.name | endswith("layers.1.post_attention_layernorm.weight")).offset' "$T/huge.json")
for i in 0 1 2 3 4 5 6 7; do
    printf '\346\261\141\177' | dd of="$T/huge/model.safetensors" bs=1 seek=$((at + 4 * i)) conv=notrunc 2>/dev/null
done
"$B/extract-lm" -o "$T/huge.json" "$T/huge" && for dtype in bf16 fp32; do
    score --lm "$T/huge.json" --calib "$C" --dtype $dtype --cell "$P/fp8_fp8.yaml=$O/y"
    [ $? -eq 1 ] && grep -q "layers.1.mlp.gate_proj' is not finite in calibration batch 1$" "$T/stderr" &&
        [ -z "$(ls "$O/y")" ]
    report $? "an overflow, $dtype: exit 1, named, nothing written"
done

# ---- outputs that fail. A file size limit of the shell is a full disk without root.
full() { # BLOCKS
    (trap '' XFSZ && ulimit -f "$1" && score $good --cell "$P/fp8_fp8.yaml=$O/z")
}
full 1
[ $? -eq 1 ] && grep -q "cannot write '$O/z/records.journal': File too large" "$T/stderr" && [ -z "$(ls "$O/z")" ]
report $? 'a full disk leaves nothing'
full 4
[ $? -eq 1 ] && grep -q "cannot write '$O/z/records.journal': File too large" "$T/stderr" &&
    score -v $good --cell "$P/fp8_fp8.yaml=$O/z" && grep -q '1 of 1 blocks are calibrated, 0 of 1 scored already' "$T/stderr" &&
    same "$O/z" "$T/first/a" && [ ! -e "$O/z/records.journal" ] && rm -r "$O/z"
report $? 'or what fitted, from which the next run goes on'
mkdir -p "$O/z/records.safetensors/x"
score $good --cell "$P/fp8_fp8.yaml=$O/z"
[ $? -eq 1 ] && grep -q "cannot write '$O/z/records.safetensors'" "$T/stderr" &&
    [ "$(cd "$O/z" && echo *)" = 'records.journal records.safetensors' ] && rm -r "$O/z"
report $? 'records.safetensors is a directory'
full 17
[ $? -eq 1 ] && grep -q "cannot write '$O/z/scores.json': File too large" "$T/stderr" && [ ! -e "$O/z/scores.json" ] &&
    [ "$(cd "$O/z" && echo *)" = 'records.journal records.safetensors' ]
report $? 'a disk full after the records leaves no scores.json'
score -v $good --cell "$P/fp8_fp8.yaml=$O/z" && grep -q '1 of 1 blocks are calibrated, 1 of 1 scored already' "$T/stderr" &&
    grep -q ' 0 TFLOP of GEMM' "$T/stderr" && same "$O/z" "$T/first/a" && [ ! -e "$O/z/records.journal" ]
report $? 'once there is room it writes them, and computes nothing'
mkdir -p "$O/w/scores.json/x"
score $good --cell "$P/fp8_fp8.yaml=$O/w"
[ $? -eq 1 ] && grep -q "cannot write '$O/w/scores.json'" "$T/stderr" && [ ! -e "$O/w/scores.json.tmp" ]
report $? 'scores.json is a directory'

# ---- killed: a run of minutes, over a cell that has results
pack -n 512 -o "$T/long.safetensors"
killed() { # SIGNAL STATUS DIR
    "$B/autoquant-score" --lm "$LM" --calib "$T/long.safetensors" --backend ref \
        --cell "$P/fp8_fp8.yaml=$3" 2>/dev/null &
    pid=$!
    sleep 0.2
    kill "-$1" $pid
    wait $pid
    [ $? -eq "$2" ]
}
killed KILL 137 "$O/k" 2>/dev/null && [ "$(ls "$O/k")" = records.journal ]
report $? 'SIGKILL leaves no scores.json'
killed TERM 143 "$O/a" 2>/dev/null && same "$O/a" "$T/first/a" && [ "$(echo "$O"/a/*tmp)" = "$O/a/*tmp" ]
report $? 'SIGTERM leaves earlier results as they were'

echo "1..$n"
exit $failed
