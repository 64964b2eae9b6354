#!/bin/sh
# autoquant-score goes on where it was stopped: killed at random moments, it ends with the bytes of a run that was not;
# journals of other inputs are refused, discarded with a word, or discarded as asked.
# KILLS is how many kills, SEED where the moments come from.
. tests/cli/scratch
tool=autoquant-score
P=conf/quant_pair
seed=${SEED:-1}
"$B/extract-lm" -o "$D/lm.json" models/tiny_qwen3_vl && "$B/calib-pack" -m models/tiny_qwen3_vl -n 32 \
    --batch 4 -o "$D/calib.safetensors" conf/dataset/sample_captions.txt && "$B/calib-pack" -m models/tiny_qwen3_vl -n 28 \
    --batch 4 -o "$D/fewer.safetensors" conf/dataset/sample_captions.txt || exit 1
cell="--cell $P/fp8_fp8.yaml=$D/run/a --cell $P/int4_fp16.yaml=$D/run/b --split"
args="--backend cpu --lm $D/lm.json --calib $D/calib.safetensors --block 1 --pass-blocks 1 $cell"
untimed() { jq -S 'del(.run)' "$1/scores.json"; }
finished() { # finished DIR: as the run that was not stopped, nothing else there
    for c in a b; do
        untimed "$1/$c" >"$D/got" && untimed "$D/whole/$c" | cmp - "$D/got" && [ "$(cd "$1/$c" && echo *)" = \
            'records.safetensors scores.json' ] && cmp "$1/$c/records.safetensors" "$D/whole/$c/records.safetensors" ||
            return 1
    done
}
# shellcheck disable=SC2086 # args are words
run 0 'a run that is not stopped' $args && mv "$D/run" "$D/whole"
for _ in 1 2; do # kills fall within its time
    t=$(date +%s%N) && "$B/$tool" $args 2>"$D/err" && t=$((($(date +%s%N) - t) / 1000)) && rm -r "$D/run"
done

most=0 kills=0
while [ $kills -lt "${KILLS:-4}" ]; do
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    setsid "$B/$tool" $args -v >"$D/out" 2>"$D/err" &
    sleep "$(printf '0.%06d' $((seed / 65536 * t / 32768 % 1000000)))"
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
    [ $? = 137 ] || { rm -rf "$D/run" && continue; } # too late
    kills=$((kills + 1))
    had=$(sed -n 's/.* \([0-9]*\) of 8 scored already/\1/p' "$D/err")
    [ "${had:-0}" -le $most ] || most=$had
    # now and then a run goes on and is killed again
    [ $((seed / 65536 % 3)) = 0 ] && continue
    "$B/$tool" $args -v >"$D/out" 2>"$D/err" && finished "$D/run" 2>>"$D/err"
    ok $? "kill $kills of a run of $((t / 1000)) ms: $(sed -n 's/.*: \(.* already\)$/\1/p' "$D/err")"
    rm -rf "$D/run"
done

# ---- journals cut off at some place
run 0 'a journal that is kept' $args --keep-journal
[ -e "$D/run/a/records.journal" ]; ok $? '  it is there'
mv "$D/run" "$D/kept"
stopped() { # stopped FRACTION: both journals cut after so many tenths
    rm -rf "$D/run"
    for c in a b; do
        mkdir -p "$D/run/$c"
        head -c $(($(wc -c <"$D/kept/$c/records.journal") * $1 / 10)) "$D/kept/$c/records.journal" >"$D/run/$c/records.journal"
    done
}
for tenth in 1 4 7 9; do
    stopped $tenth
    run 0 "after $tenth tenths" $args -v
    finished "$D/run" 2>>"$D/err"; ok $? "  $(sed -n 's/.*: \(.* already\)$/\1/p' "$D/err")"
done
stopped 7 && : >"$D/run/b/records.journal"
run 0 'a cell that lags behind' $args -v
finished "$D/run" 2>>"$D/err"; ok $? "  $(sed -n 's/.*: \(.* already\)$/\1/p' "$D/err")"
stopped 7
run 0 'in another number of passes, with other threads' $args -j 1 --pass-blocks 3
finished "$D/run" 2>>"$D/err"; ok $? '  the same bytes'
stopped 7 && printf 'x' | dd of="$D/run/a/records.journal" bs=1 seek=900 conv=notrunc 2>"$D/err"
run 0 'a changed byte' $args
finished "$D/run" 2>>"$D/err"; ok $? '  costs what stood behind it'

# ---- other inputs: OPTION... | what the refusal says
with() { # with OPTIONS: the arguments with these, of which a --calib takes the other's place
    case $1 in *--calib*) echo "$args" | sed 's/--calib [^ ]*//' ;; *) echo "$args" ;; esac
    echo "$1"
}
while IFS='|' read -r other says; do
    stopped 7
    cp -r "$D/run" "$D/before"
    # shellcheck disable=SC2046 # words
    run 2 "$other" $(with "$other")
    says err "'$D/run/a/records.journal' holds a run that was stopped, of other inputs: $says; --restart discards it"
    diff -r "$D/run" "$D/before" >"$D/err"; ok $? '  the journals are as they were'
    rm -r "$D/before"
done <<END
--dtype fp32|'dtype' is "bf16" there, "fp32" here
--block 2|'block_batches' is 1 there, 2 here
--score-size 16|'score_sequences' is 32 there, 16 here
--backend ref|'backend' is "cpu" there, "ref" here
--calib $D/fewer.safetensors|'tokens_sha256' is "[0-9a-f]*" there, "[0-9a-f]*" here
END
stopped 7
# shellcheck disable=SC2046 # words
"$B/$tool" $(with "--backend ref --resume --calib $D/fewer.safetensors --score-size 4") >"$D/out" 2>"$D/err" &&
    [ "$(grep -c 'of other inputs: .*; discarded$' "$D/err")" = 2 ] && [ ! -e "$D/run/a/records.journal" ]
ok $? '--resume discards both and says so'
stopped 7
run 0 '--resume with what fits' $args --resume
[ ! -s "$D/err" ] && finished "$D/run"; ok $? '  says nothing, and goes on'
stopped 7
run 0 --restart $args --restart -v
! grep already "$D/err" && finished "$D/run"; ok $? '  begins anew'
run 2 '--resume --restart' $args --resume --restart
stopped 7 && cp "$D/lm.json" "$D/run/a/records.journal"
run 0 'a file that is no journal counts for nothing' $args && finished "$D/run"; ok $? '  and is written over'
flock "$D/whole/a/records.journal" "$B/$tool" $args --cell "$P/fp8_fp8.yaml=$D/whole/a" >"$D/out" 2>"$D/err"
[ $? = 1 ] && grep -q "another process is writing '$D/whole/a/records.journal'" "$D/err"
ok $? 'two at once'
echo "1..$n"
