#!/bin/sh
# autoquant-score over several numbers of captions: in one process, or beside what earlier ones have left, the bytes of
# runs of their own. BACKEND=cuda: on a GPU.
. tests/cli/scratch
tool=autoquant-score
P=conf/quant_pair
"$B/extract-lm" -o "$D/lm.json" models/tiny_qwen3_vl || exit 1
for size in 6 16 40; do
    "$B/calib-pack" -m models/tiny_qwen3_vl -n $size --batch 4 -o "$D/$size" conf/dataset/sample_captions.txt || exit 1
done
args="--backend ${BACKEND:-cpu} --lm $D/lm.json --block 2 --score-size 24"
# cells K: [K:]PAIR=DIR arguments of the pairs below $DIR, of the K-th --calib
cells() {
    for p in $pairs; do echo "--cell $2$P/$p.yaml=$1/$p"; done
}
untimed() { jq -S 'del(.run)' "$1/scores.json"; }
equals() { # equals DIR: all pairs there are those of apart/
    for p in $pairs; do
        cmp "$1/$p/records.safetensors" "$D/apart/${1##*/}/$p/records.safetensors" 2>"$D/err" && untimed "$1/$p" >"$D/got" &&
            untimed "$D/apart/${1##*/}/$p" | cmp - "$D/got" 2>"$D/err" || return 1
    done
}
# shellcheck disable=SC2086,SC2046 # args are words
{
    pairs='fp8_fp8 fp8_fp16 mxfp4_fp8'
    for size in 6 16 40; do
        run 0 "$size captions" $args --calib "$D/$size" $(cells "$D/apart/$size")
    done
    run 0 'three sizes at once' $args --calib "$D/40" --calib "$D/6" --calib "$D/16" $(cells "$D/one/40") \
        $(cells "$D/one/6" 2:) $(cells "$D/one/16" 3:)
    for size in 6 16 40; do equals "$D/one/$size"; ok $? "  $size: the bytes of a run of its own"; done
    run 0 'with a profile' $args --profile --calib "$D/16" --calib "$D/40" $(cells "$D/p/16") $(cells "$D/p/40" 2:)
    [ "$(grep -c '^fp8/tensor x fp8/tensor  *[0-9]' "$D/err")" = 2 ]
    ok $? '  a phase for each set of input scales'
    equals "$D/p/16" && equals "$D/p/40"; ok $? '  the same'

    # ---- --reuse
    run 0 'more captions beside fewer' -v $args --calib "$D/40" $(cells "$D/more/40") --reuse "$D/apart/16/fp8_fp16" \
        --reuse "$D/apart/16/mxfp4_fp8" --reuse "$D/apart/16/fp8_fp8"
    # blocks of 8 captions: two of five are there; of three that are scored, two of the pairs without static scales
    says err 'from other runs: maxima of 2 of 5 blocks, scores of 4 of 9$'
    equals "$D/more/40"; ok $? '  the bytes of a run of its own'
    run 0 'another pair beside those' -v $args --calib "$D/40" --cell $P/int8_fp8.yaml="$D/more/int8_fp8" \
        --reuse "$D/apart/40/fp8_fp8"
    says err 'from other runs: maxima of 5 of 5 blocks, scores of 0 of 3$'
    run 0 'alone' $args --calib "$D/40" --cell $P/int8_fp8.yaml="$D/alone/int8_fp8"
    cmp "$D/more/int8_fp8/records.safetensors" "$D/alone/int8_fp8/records.safetensors"; ok $? '  the same bytes'
    run 0 'more to score of the same captions' -v $args --score-size 40 --calib "$D/40" $(cells "$D/all/40") \
        --reuse "$D/apart/40/fp8_fp16" --reuse "$D/apart/40/mxfp4_fp8" --reuse "$D/apart/40/fp8_fp8"
    says err 'from other runs: maxima of 5 of 5 blocks, scores of 9 of 15$'
    run 0 'in a run of its own' $args --score-size 40 --calib "$D/40" $(cells "$D/apart/all")
    mv "$D/all/40" "$D/all/all" && equals "$D/all/all"; ok $? '  the same bytes, static scales being the same'
    run 0 'what there is of everything' -v $args --calib "$D/40" $(cells "$D/again/40") \
        --reuse "$D/apart/40/fp8_fp16" --reuse "$D/apart/40/mxfp4_fp8" --reuse "$D/apart/40/fp8_fp8"
    says err ' 0 TFLOP of GEMM'
    equals "$D/again/40"; ok $? '  is written, and nothing computed'
    while IFS='|' read -r name option; do
        run 0 "$name" -v $(echo "$args" | sed 's/--block 2//') --calib "$D/40" --cell $P/fp8_fp16.yaml="$D/other" $option
        ! grep 'from other runs' "$D/err"; ok $? '  has nothing to reuse'
    done <<END
another dtype|--block 2 --dtype fp32 --reuse $D/apart/40/fp8_fp16
another cut into blocks|--block 3 --reuse $D/apart/40/fp8_fp16
a directory without records|--block 2 --reuse $D --reuse /nowhere
END
    mkdir "$D/cut" "$D/odd" && head -c 3000 "$D/apart/40/fp8_fp16/records.safetensors" >"$D/cut/records.safetensors"
    run 0 'records that are cut' -v $args --calib "$D/40" --cell $P/fp8_fp16.yaml="$D/other" --reuse "$D/cut"
    sed 's/"block_sha256":"...../"block_sha256":"/; s/"arithmetic":"1"/&     /' "$D/apart/40/fp8_fp16/records.safetensors" \
        >"$D/odd/records.safetensors"
    run 3 'records whose blocks are not theirs' $args --calib "$D/40" --cell $P/fp8_fp16.yaml="$D/other" --reuse "$D/odd"
    says err "'$D/odd/records.safetensors': 'block_sha256' is not of its blocks$"

    # ---- refused
    run 2 'a cell of no calib' $args --calib "$D/6" --cell 2:$P/fp8_fp8.yaml="$D/x"
    says err "'2:$P/fp8_fp8.yaml=$D/x' is of --calib number 2, but 1 is given$"
    run 2 'a cell of none' $args --calib "$D/6" --calib "$D/16" --cell 0:$P/fp8_fp8.yaml="$D/x"
    says err 'is of --calib number 0, but 2 are given$'
    run 2 'a calib without cells' $args --calib "$D/6" --calib "$D/16" --cell $P/fp8_fp8.yaml="$D/x"
    says err "no --cell is of --calib '$D/16'$"
    run 2 'one directory twice' $args --calib "$D/6" --calib "$D/16" --cell $P/fp8_fp8.yaml="$D/x" \
        --cell 2:$P/fp8_fp8.yaml="$D/x"
    says err "'fp8_fp8' and 'fp8_fp8' would both be written to '$D/x'"
    run 2 'parts of several' $args --calib "$D/6" --calib "$D/16" --shard 1/2 --cell $P/fp8_fp8.yaml="$D/x" \
        --cell 2:$P/fp8_fp8.yaml="$D/y"
    says err '--shard and --calibrate are of one --calib, and do not take --reuse$'
    run 2 'parts that reuse' $args --calib "$D/6" --calibrate --cell $P/fp8_fp8.yaml="$D/x" --reuse "$D/apart/6/fp8_fp8"
}
echo "1..$n"
