#!/bin/sh
# make plan says why a cell is stale, make status what runs and what failed; logs; make -k goes on past a failed cell.
# shellcheck disable=SC2016 # edits are evaluated later
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
rm "$tree/models" && cp -a "$top/models" "$tmp/models" && ln -s "$tmp/models" "$tree/models"
cd "$tree" && mk all >"$tmp/out" || exit 1
model=tmp/run/tiny_qwen3_vl
pairs='fp8_fp8 int8_fp16 int8_int8'
"$build/device-speed" --json -j 1 cpu >"$tmp/speed.json" || exit 1
# plan ARGS...: of the sweep that the rows are about, into $tmp/out
plan() {
    mk plan PAIRS="$pairs" CALIB_NS=8 SPEED="$tmp/speed.json" "$@" >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/err" ]
}
status() { mk status PAIRS="$pairs" CALIB_NS=8 >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/err" ]; }
sweep() { mk "$@" sweep PAIRS="$pairs" CALIB_NS=8 >"$tmp/out" 2>"$tmp/err"; }
# says TEXT: a line of $tmp/out holds it
says() {
    grep -qF -- "$1" "$tmp/out"
    report $? "  $1"
}
snapshot() { mkdir -p "$tmp/saved/tmp" && cp -a conf "$tmp/saved" && cp -a tmp/run "$tmp/saved/tmp"; }
restore() { rm -rf conf tmp/run && cp -a "$tmp/saved/." .; }
results() { find tmp/run \( -name '*.json' -o -name '*.safetensors' -o -name '*.md' -o -name log \) ! -name '.*'; }

# ---- before the first run
mk plan PAIRS="$pairs" CALIB_NS=8 SPEED="$tmp/speed.json" JSON=1 >"$tmp/first.json" 2>"$tmp/err"
plan && [ -z "$(results)" ]
report $? 'make plan before the first run: no result'
says 'to extract: lm.json is not there'
says 'to pack: calib.safetensors is not there'
says 'int8_int8/default  to run: never scored'
says 'default: 3 cells in one process, one pass over '
says '3 replays'
says '3 cells: 3 to run, index to write'
grep -qE '^scoring, about, in 1 process on .*: [0-9.]+ s, memory [0-9.]+ MB, disk [0-9.]+ [kM]B$' "$tmp/out"
report $? '  time, memory, disk'
status && [ -z "$(results)" ]
report $? 'make status before it'
says '3 cells: 3 to run, index to write'
sweep
report $? 'first sweep'
disk=$(find $model/*/*/default -maxdepth 1 -type f -printf "%s\n" | awk "{ n += \$1 } END { print n }")
jq -e --argjson disk "$disk" ".total.disk_bytes | . < 2 * \$disk and . > $disk / 2" "$tmp/first.json" >"$tmp/out"
report $? "  of $disk bytes on disk, predicted within a factor of 2"
snapshot
status
report $? 'make status after it'
says '3 cells: 3 up to date'

# ---- why a cell is stale
# stale NAME TEXT EDIT ARGS...: after EDIT, make plan with ARGS says TEXT of a cell
stale() {
    name=$1 text=$2 edit=$3
    shift 3
    restore
    eval "$edit" >"$tmp/err" 2>&1 && plan "$@"
    report $? "$name"
    says "$text"
}
stale 'a setting' 'stale: autoquant.score_size 128 -> 64' : SET=autoquant.score_size=64
stale 'two settings' 'stale: autoquant.dtype bf16 -> fp32; autoquant.split false -> true' : \
    SET='autoquant.dtype=fp32 autoquant.split=true'
stale 'a quantizer' 'int8_fp16/default  stale: pair weight int8/out_channel -> fp8/tensor; pair modelopt_config' \
    'sed -i "s/^weight:.*/weight: {format: fp8, granularity: tensor}/; s/^modelopt_config:.*/modelopt_config: X/" \
        conf/quant_pair/int8_fp16.yaml'
[ "$(grep -c 'up to date$' "$tmp/out")" = 2 ]
report $? '  that cell alone'
stale 'a backend' 'stale: backend cpu -> ref' : BACKEND=ref
stale 'a budget' 'manifest and reports only: autoquant.effective_bits 8.0 -> 6.0' : SET=autoquant.effective_bits=6
stale 'captions' 'unsure: if the tokens are others than they were' \
    'sed -i "3s/^/Look: /" conf/dataset/sample_captions.txt'
says 'to pack: captions or tokenizer'
says 'default: at most 3 cells in one process'
mk tmp/run/tiny_qwen3_vl/sample_captions-n8/calib.safetensors CALIB_N=8 >"$tmp/out" 2>"$tmp/err" && plan
report $? 'once they are packed'
says 'stale: tokens of the captions'
stale 'a file of the model' 'to extract: files of the model' 'touch models/tiny_qwen3_vl/model.safetensors'
printf '\001' | dd of=models/tiny_qwen3_vl/model.safetensors bs=1 seek=1000000 conv=notrunc 2>"$tmp/err"
mk tmp/run/tiny_qwen3_vl/lm.json CALIB_N=8 >"$tmp/out" 2>"$tmp/err" && plan
report $? 'another weight, once it is looked at'
says 'stale: weights of the model'
cp -a "$top/models/." models/
stale 'tampered scores' 'stale: scores.json is not as it was written' \
    'echo >>'$model'/sample_captions-n8/int8_int8/default/scores.json'
stale 'deleted scores' 'stale: scores.json is not there' 'rm '$model'/sample_captions-n8/int8_int8/default/scores.json'
stale 'a key of another version' 'stale: scores.key is of another version' \
    'for k in '$model'/*/*/*/scores.key; do echo 0123 >$k; done'
stale 'a pair more' '4 cells: 3 up to date, 1 to run, index to write' : PAIRS="$pairs fp4_fp8"
says 'default: 1 cell in one process'
plan PAIR=int8_int8 CALIB_N=8
report $? 'PAIR and PAIRS'
says '3 cells: 3 up to date'
mk plan PAIR=int8_int8 CALIB_N=8 SPEED="$tmp/speed.json" >"$tmp/out" 2>"$tmp/err"
report $? 'PAIR alone: one cell'
says '1 cell: 1 up to date'
restore
cp -a "$build" stages "$tmp"
sed -i 's/score how much each layer suffers/score how each layer suffers/' stages/autoquant-score.c
plan
report $? 'a program'
says 'stale: autoquant-score (program)'
rm -rf "$build" stages && mv "$tmp/${build##*/}" "$build" && mv "$tmp/stages" .
mk plan sweep >"$tmp/out" 2>"$tmp/err"
[ $? = 2 ] && grep -q 'plan goes without other goals' "$tmp/err"
report $? 'plan beside a goal is refused'
printf '{"format": "qsens-device", "version": 1}' >"$tmp/bad.json"
mk plan CALIB_N=8 SPEED="$tmp/bad.json" >"$tmp/out" 2>"$tmp/err"
[ $? = 2 ] && grep -q "^plan-run: .*bad.json: missing key 'backend'" "$tmp/err"
report $? 'a file of speeds that is none'
plan SPEED= && [ -s tmp/run/.speed-cpu.json ]
report $? 'speeds are measured'
touch -d 2020-01-01 tmp/run/.speed-cpu.machine
stat -c '%i %Y' tmp/run/.speed-cpu.json >"$tmp/was"
plan SPEED= && stat -c '%i %Y' tmp/run/.speed-cpu.json | cmp -s - "$tmp/was"
report $? '  once'

# ---- a cell that fails
printf '#!/bin/sh\ncase $* in *int8_int8*) echo no such node >&2; exit 3 ;; esac\nexec "$@"\n' >"$tmp/picky"
chmod +x "$tmp/picky"
cell=$model/sample_captions-n8/int8_int8/default
restore
rm -r $model/*/*/default
sweep -k LAUNCH="$tmp/picky"
[ $? = 2 ] && tail -n 3 "$tmp/err" | grep -qF "  FAILED    $cell: exit code 3"
report $? 'make -k: a cell whose launcher fails; it is named at the end, exit code 2'
[ "$(grep -c FAILED "$tmp/err")" = 1 ] && [ -s $model/sample_captions-n8/fp8_fp8/default/per-layer-sensitivity.md ] &&
    [ -s $model/sample_captions-n8/int8_fp16/default/per-layer-sensitivity.md ] && [ ! -e $cell/scores.json ]
report $? '  the others are finished'
status
report $? '  make status'
says 'int8_int8/default  failed: exit code 3'
says '3 cells: 2 up to date, 1 failed, index to write'
sweep && [ "$(stages)" = 'SCORE MANIFEST REPORT REPORT' ] && grep -q '(1 pair)' "$tmp/out" && ! grep -q error: $cell/log
report $? '  the next sweep scores it alone'
rm -r $model/*/*/default
mkdir -p $cell/scores.json.tmp
sweep -k
[ $? = 2 ] && grep -qE "^  FAILED    $cell: autoquant-score: .*scores.json" "$tmp/err"
report $? 'a cell that cannot be written: the first line of the error'
status
says '3 cells: 2 up to date, 1 failed, index to write'
rmdir $cell/scores.json.tmp
mkdir $cell/wint8_aint8_autoquant_lm_quant_manifest.json.tmp
sweep -k
[ $? = 2 ] && grep -qE "^  FAILED    $cell: manifest: " "$tmp/err"
report $? 'a manifest that cannot be written'
rmdir $cell/wint8_aint8_autoquant_lm_quant_manifest.json.tmp
sweep -k && [ "$(stages)" = 'MANIFEST REPORT REPORT' ] && [ ! -s "$tmp/err" ] && mk -qk sweep PAIRS="$pairs" CALIB_NS=8
report $? '  then it can: make -k ends well, and nothing is left to do'
grep -q '^[0-9TZ:-]* start [0-9]* ' $cell/log && grep -q 'autoquant-score: backend cpu, .* replays in ' $cell/log
report $? 'a log says when, who, and what a terminal would see with --verbose'

MODEL=nowhere mk -k sensitivity CALIB_N=8 >"$tmp/out" 2>"$tmp/err"
[ $? = 2 ] && grep -q nowhere "$tmp/err"
report $? 'make -k takes a MODEL of the environment'

# ---- parts
printf '#!/bin/sh\ncase $* in *--calibrate*) ;; *"--shard 1/2") exit 5 ;; esac\nexec "$@"\n' >"$tmp/no1"
chmod +x "$tmp/no1"
rm -r $model/*/*/default
sweep -k SHARDS=2 LAUNCH="$tmp/no1"
[ $? = 2 ] && [ "$(grep -c '^  FAILED .*default: exit code 2$' "$tmp/err")" = 3 ]
report $? 'SHARDS: a part that fails'
find $model -name '*.journal' | sort >"$tmp/before" && plan SHARDS=2
report $? '  make plan'
says 'of a stopped run to go on from if they fit: 1 block scored'
says 'default: 3 cells in 2 parts, one pass over '
status && find $model -name '*.journal' | sort | cmp "$tmp/before" - && [ -s "$tmp/before" ]
report $? '  make status'
says '3 cells: 3 failed, index to write'
mkdir -p $cell/scores.json.tmp
sweep -k SHARDS=2
[ $? = 2 ] && [ "$(grep -c FAILED "$tmp/err")" = 1 ] && grep -qE "^  FAILED    $cell: .*scores.json" "$tmp/err" &&
    [ -s $model/sample_captions-n8/fp8_fp8/default/per-layer-sensitivity.md ]
report $? '  a cell that cannot be written: the others are finished'
rmdir $cell/scores.json.tmp
sweep -k SHARDS=2 && [ ! -s "$tmp/err" ] && [ "$(grep -c ' start ' $cell/log)" = 1 ] && ! grep -q error: $cell/log &&
    [ -z "$(find $model -name '*.journal')" ] && status && grep -q '^3 cells: 3 up to date$' "$tmp/out"
report $? '  then it can'

# ---- a cell that runs, and one that was killed
printf '#!/bin/sh\n: >started\nexec sleep 60\n' >"$tmp/hang" && chmod +x "$tmp/hang"
rm -r $cell
setsid sh -c "${QSENS_MAKE:-make MODE=${build##*/}} sweep PAIRS='$pairs' CALIB_NS=8 LAUNCH='$tmp/hang'" \
    >"$tmp/hung" 2>&1 &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e started ] || sleep 0.5; done
status
report $? 'make status beside a make that scores'
says 'int8_int8/default  running: since '
says '3 cells: 2 up to date, 1 running, index to write'
plan
grep -q 'another make is at work in this tree' "$tmp/err"
report $? 'make plan says that it has to wait'
kill -9 -$pid 2>/dev/null
wait "$pid" 2>/dev/null
status
report $? 'killed'
says 'int8_int8/default  to run: never scored; the last attempt ended without a word'
sweep && [ ! -s "$tmp/err" ] && status && grep -q '^3 cells: 3 up to date$' "$tmp/out"
report $? 'the next sweep completes'
# 16 captions come first
printf '#!/bin/sh\ncase $* in *-n8/*) ;; *) exec "$@" ;; esac\n: >started\nexec sleep 60\n' >"$tmp/hang"
rm -rf started $cell
setsid sh -c "${QSENS_MAKE:-make MODE=${build##*/}} sweep PAIRS='$pairs' CALIB_NS='8 16' LAUNCH='$tmp/hang'" \
    >"$tmp/hung" 2>&1 &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e started ] || sleep 0.5; done
mk status PAIRS="$pairs" CALIB_NS='8 16' >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/err" ]
report $? 'make status beside a make that has scored others'
says '6 cells: 5 up to date, 1 running, index to write'
kill -9 -$pid 2>/dev/null
wait "$pid" 2>/dev/null
echo "1..$n"
