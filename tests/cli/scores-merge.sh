#!/bin/sh
# Parts: any number of them, merged in any order, are the bytes of a run that was never parted; what does not fit together
# is refused by name.
. tests/cli/scratch
tool=scores-merge
P=conf/quant_pair
"$B/extract-lm" -o "$D/lm.json" models/tiny_qwen3_vl && "$B/calib-pack" -m models/tiny_qwen3_vl -n 64 \
    -o "$D/calib.safetensors" conf/dataset/sample_captions.txt && "$B/calib-pack" -m models/tiny_qwen3_vl -n 56 \
    -o "$D/fewer.safetensors" conf/dataset/sample_captions.txt || exit 1
in="--lm $D/lm.json --calib $D/calib.safetensors"
# score DIR ARGS...: two cells, in blocks of one batch, of which five are scored
score() {
    d=$1
    shift
    # shellcheck disable=SC2086 # words
    "$B/autoquant-score" --backend cpu $in --block 1 --score-size 40 --split --cell "$P/fp8_fp8.yaml=$d/fp8_fp8" \
        --cell "$P/int4_fp16.yaml=$d/int4_fp16" "$@" >"$D/out" 2>"$D/err"
}
merge() { # merge DIR PAIR PART...
    d=$1 p=$2
    shift 2
    # shellcheck disable=SC2086
    "$B/scores-merge" $in --pair "$P/$p.yaml" -o "$d" "$@" >"$D/out" 2>"$D/err"
}
untimed() { jq -S 'del(.run)' "$1/scores.json"; }
equals() { # equals DIR PAIR
    cmp "$1/records.safetensors" "$D/whole/$2/records.safetensors" 2>"$D/err" && untimed "$1" >"$D/a" &&
        untimed "$D/whole/$2" | cmp - "$D/a" 2>"$D/err"
}
score "$D/whole"; ok $? 'one run'
for k in 1 2 3 7; do
    s=0
    for i in $(seq $k | shuf); do score "$D/$k" --calibrate --shard $i/$k || s=1; done
    for i in $(seq $k | shuf); do score "$D/$k" --shard $i/$k --pass-blocks 2 || s=1; done
    for p in fp8_fp8 int4_fp16; do
        for i in 1 2 3; do
            # shellcheck disable=SC2046 # file names without blanks
            [ $s = 0 ] && merge "$D/merged/$k/$p/$i" $p $(ls "$D/$k/$p"/part-* | shuf) && equals "$D/merged/$k/$p/$i" $p ||
                s=1
        done
    done
    ok $s "$k parts ($(find "$D/$k/fp8_fp8" -name 'part-*' | wc -l) with work), in random orders: the same bytes"
done
jq -e '.run.seconds > 0' "$D/merged/3/fp8_fp8/1/scores.json" >"$D/err"; ok $? 'the time of the parts'
"$B/manifest" --lm "$D/lm.json" "$D/merged/3/fp8_fp8/1/scores.json" >"$D/out" 2>"$D/err"; ok $? 'manifest reads it'
score "$D/one" --calibrate && score "$D/one" --shard 1/3 && score "$D/one" --shard 2/3 && score "$D/one" --shard 3/3 &&
    merge "$D/merged/one" fp8_fp8 "$D"/one/fp8_fp8/part-* && equals "$D/merged/one" fp8_fp8
ok $? 'calibrated in one part'
cp "$D/3/fp8_fp8/part-2-of-3.journal" "$D/torn" && truncate -s -1 "$D/torn" && cp "$D/torn" "$D/3/fp8_fp8/part-2-of-3.journal"
score "$D/3" --shard 2/3 -v && grep -q '8 of 8 blocks are calibrated, 3 of 10 scored already' "$D/err" &&
    merge "$D/merged/torn" fp8_fp8 "$D"/3/fp8_fp8/part-* && equals "$D/merged/torn" fp8_fp8
ok $? 'a torn part goes on'

# ---- refused
row() { # row CODE SAYS ARGS...
    code=$1 says=$2
    shift 2
    # shellcheck disable=SC2086
    "$B/scores-merge" $in --pair "$P/fp8_fp8.yaml" -o "$D/none" "$@" >"$D/out" 2>"$D/err"
    [ $? = "$code" ] && grep -q -- "$says" "$D/err" && [ "$(wc -l <"$D/err")" = 1 ] && [ ! -e "$D/none" ]
    ok $? "exit $code: $says"
}
f=$D/3/fp8_fp8/part
g=$D/2/fp8_fp8/part
row 2 '^scores-merge: block 1 of 5: no part has the scores$' "$f-2-of-3.journal" "$f-3-of-3.journal"
row 2 'blocks 2 to 5 of 5: no part has the scores$' "$f-1-of-3.journal"
row 2 "block 3 of 5: no part has the scores; the end of '.*torn' is torn off" "$f-1-of-3.journal" "$D/torn" "$f-3-of-3.journal"
row 2 "blocks 1 to 2 of 5: scored by '.*1-of-2.*' and by '.*1-of-1" "$g-1-of-2.journal" "$D/1/fp8_fp8/part-1-of-1.journal"
row 2 "block 2 of 5: scored by '.*2-of-3.*' and by '.*1-of-2" "$f-2-of-3.journal" "$g-1-of-2.journal"
row 2 "scored by '.*1-of-3.*' and by '.*1-of-3" "$f-1-of-3.journal" "$f-1-of-3.journal"
row 2 'block 5 of 8: no part has the maxima\|blocks 5 to 8 of 8: no part has the maxima' "$D/2/fp8_fp8/calibration-1-of-2.journal"
row 2 "is of other inputs: 'weight' is \"int4/block128\" there, \"fp8/tensor\" here" "$D/2/int4_fp16/part-1-of-2.journal"
row 2 "part-2-of-2.journal' is of other inputs than '.*part-1-of-2.journal': 'weight' is \"int4" "$g-1-of-2.journal" \
    "$D/2/int4_fp16/part-2-of-2.journal"
row 2 "is of other inputs: 'tokens_sha256' is" --calib "$D/fewer.safetensors" "$g-1-of-2.journal" "$g-2-of-2.journal"
row 1 'cannot open' "$D/nowhere"
row 3 'is no journal of records' "$D/lm.json"
run 2 'no inputs' part && says err 'are needed; see scores-merge --help'
score "$D/fp32" --dtype fp32 --calibrate && score "$D/fp32" --dtype fp32 --shard 2/2
row 2 "2-of-2.journal' is of other inputs than '.*1-of-2.journal': 'dtype' is \"fp32\" there, \"bf16\" here" \
    "$g-1-of-2.journal" "$D/fp32/fp8_fp8/part-2-of-2.journal"
tool=autoquant-score
bad() { # bad SAYS ARGS...
    says=$1
    shift
    score "$D/bad" "$@"
    [ $? = 2 ] && grep -q -- "$says" "$D/err"; ok $? "refused: $says"
}
for shard in 0/2 3/2 1 1/0 -1/2 1/2x ' 1/2' 1/99999999999 /; do bad "wants I/K with I from 1 to K, not '$shard'" --shard "$shard"; done
bad "the maxima of block 1 of 8 are not in '$D/bad/fp8_fp8': run --calibrate first" --shard 1/2
score "$D/bad" --calibrate --shard 1/2
bad 'the maxima of block 5 of 8 are not in' --shard 1/2
bad "block 1 of 8 .*first; '.*calibration-1-of-2.journal' is of other inputs: 'dtype' is" --shard 1/2 --dtype fp32
echo "1..$n"
