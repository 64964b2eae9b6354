#!/bin/sh
# What make reruns, and nothing else: a table of edits and the stages that follow from each.
# shellcheck disable=SC2016,SC2034 # edits are evaluated later
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
rm "$tree/models" && cp -a "$top/models" "$tmp/models" && ln -s "$tmp/models" "$tree/models"
cd "$tree" || exit 1
weights=models/tiny_qwen3_vl/model.safetensors
cell=$(mk where CALIB_N=16)
all='EXTRACT PACK SCORE MANIFEST REPORT REPORT'
scored='SCORE MANIFEST REPORT REPORT'

# run ARGS...: what a row is about; exit code in $rc
run() {
    mk sensitivity CALIB_N=16 "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
}
# touched: what a make that only looks must leave alone
touched() { find tmp/run -type f ! -path '*/config/*' ! -name '*.id' ! -name '*.args' ! -name '*.due' ! -name '.*' \
    -printf '%p %i %T@\n' | sort; }
# predicted STAGES ARGS...: make plan says that make with ARGS will run STAGES, or that the cell's scores depend on what
# EXTRACT or PACK will find, which then is so or is not; and it touches no result
predicted() {
    want=$1
    shift
    touched >"$tmp/before" 2>"$tmp/none"
    mk plan CALIB_N=16 SPEED="$tmp/speed.json" JSON=1 "$@" >"$tmp/printed" 2>"$tmp/planned" &&
        [ ! -s "$tmp/planned" ] && touched 2>"$tmp/none" | cmp -s "$tmp/before" - || return
    sed -n "/^{/,\$p" "$tmp/printed" >"$tmp/plan" # what was built comes first
    says=$(jq -r '[(.models[] | select(.make) | "EXTRACT"), (.data[] | select(.make) | "PACK"),
        (.cells[0].stages[] | ascii_upcase | sub("-.*"; ""))] | join(" ")' "$tmp/plan")
    state=$(jq -r '.cells[0].state' "$tmp/plan")
    [ "$says" = "$want" ] || {
        [ "$state" = unsure ] && inputs=$(echo "$says" | sed 's/ *REPORT//g; s/ *MANIFEST//') &&
            [ "$inputs${inputs:+ }$scored" = "$want" ]
    } || { echo "plan: $state: $says" >"$tmp/planned" && return 1; }
}
# row NAME STAGES EDIT ARGS...: after EDIT, make with ARGS runs STAGES, as make plan has said, says nothing on stderr,
# and leaves nothing to do
row() {
    name=$1 want=$2 edit=$3
    shift 3
    eval "$edit" >"$tmp/out" 2>&1
    edited=$?
    predicted "$want" "$@"
    planned=$?
    run "$@"
    [ $edited = 0 ] && [ $rc = 0 ] && [ "$(stages)" = "$want" ] && [ ! -s "$tmp/err" ] &&
        tail -n 1 "$tmp/out" | grep -q '^  RESULT  ' && mk -q sensitivity CALIB_N=16 "$@" && no_halves tmp
    report $? "$name: ${want:-nothing}"
    [ $planned = 0 ] || cat "$tmp/planned" >"$tmp/err"
    report $planned '  as planned'
}
snapshot() { mkdir -p "$tmp/saved/tmp" && cp -a conf "$tmp/saved" && cp -a tmp/run "$tmp/saved/tmp"; }
restore() { rm -rf conf tmp/run && cp -a "$tmp/saved/." .; }
# fresh ...: a row that starts from the snapshot
fresh() { restore && row "$@"; }

"$build/device-speed" --json -j 1 cpu >"$tmp/speed.json" || exit 1
mk -n sensitivity CALIB_N=16 >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/err" ] &&
    [ -z "$(find tmp/run -name '*.json' -o -name '*.safetensors' -o -name '*.md')" ]
report $? 'make -n before the first run: no result, no complaint'
mk -q sensitivity CALIB_N=16 >"$tmp/out" 2>&1
[ $? = 1 ]
report $? 'make -q before the first run: 1'
row 'first run' "$all" :
cp -a tmp/run "$tmp/uninterrupted"
snapshot
row 'second run' '' :

# ---- edits that mean nothing
fresh 'touched captions and configuration' '' 'touch conf/dataset/* conf/*/*.yaml'
fresh 'comments' '' 'sed -i "1i # note" conf/preset/default.yaml conf/autoquant/*.yaml conf/quant_pair/*.yaml'
fresh 'defaults spelled out' '' : SET='autoquant.dtype=bf16 autoquant.effective_bits=8 dataset.size=null' PAIR=fp4_fp8 \
    MODEL=tiny_qwen3_vl DATASET=sample_captions GRANULARITY=default
case $("$build/autoquant-score" --print-backend) in
cpu*) fresh 'auto, where it stands for cpu' '' : BACKEND=auto ;;
esac
fresh 'threads' '' : THREADS=1
fresh 'a config.mak with other pairs on the menu' '' 'echo "MENU = fp8_fp8" >config.mak'
rm config.mak

# ---- edits of the configuration
fresh 'a caption among the first 16' "PACK $scored" 'sed -i "3s/^/Look: /" conf/dataset/sample_captions.txt'
fresh 'a caption after them' 'PACK' 'sed -i "300s/^/Look: /" conf/dataset/sample_captions.txt'
fresh 'budget' 'MANIFEST REPORT REPORT' : SET=autoquant.effective_bits=6
fresh 'budget, in a file' 'MANIFEST REPORT REPORT' \
    'sed -i "s/effective_bits:.*/effective_bits: 6/" conf/autoquant/default.yaml'
fresh 'dtype' "$scored" : SET=autoquant.dtype=fp32
fresh 'parts of weights and activations' "$scored" : SET=autoquant.split=true
grep -q '^## Weights and Activations' "$cell/per-layer-sensitivity.md"
report $? '  which the report then has'
fresh 'padding' "PACK $scored" : SET=autoquant.padding=none
fresh 'length' "PACK $scored" : SET=dataset.seq_len=64
fresh 'number of captions' "PACK $scored" : CALIB_N=24
fresh 'pair' "$scored" : PAIR=fp8_fp8
fresh 'pair, its file' "$scored" 'sed -i "s/format: fp8/format: int8/" conf/quant_pair/fp4_fp8.yaml'
restore
mk -q sensitivity CALIB_N=16 BACKEND=ref >"$tmp/out" 2>&1
[ $? = 1 ]
report $? 'another backend: stale'
fresh 'a name that is only recorded' 'MANIFEST REPORT REPORT' : SET=dataset.name=mine
fresh 'a permission that is not needed' 'PACK REPORT' : SET=dataset.allow_short=true

# ---- results that are gone
fresh 'lm.json deleted' 'EXTRACT' 'rm tmp/run/*/lm.json'
fresh 'calib.safetensors deleted' 'PACK' 'rm tmp/run/*/*/calib.safetensors'
fresh 'scores.json deleted' "$scored" 'rm $cell/scores.json'
fresh 'records.safetensors deleted' "$scored" 'rm $cell/records.safetensors'
fresh 'manifest deleted' 'MANIFEST REPORT REPORT' 'rm $cell/*_manifest.json'
fresh 'Markdown report deleted' 'REPORT' 'rm $cell/*.md'
fresh 'JSON report deleted' 'REPORT' 'rm $cell/per-layer-sensitivity.json'
fresh 'composed-config.yaml deleted' 'REPORT' 'rm $cell/composed-config.yaml'
fresh 'all of the cell deleted' "$scored" 'rm -r $cell'

# ---- runs that fail, or only pretend
fresh 'after a typo in SET' '' '! mk sensitivity CALIB_N=16 SET=autoquant.dtpye=fp32'
fresh 'after an unknown backend' '' '! mk sensitivity CALIB_N=16 BACKEND=zork'
fresh 'after scoring failed with other settings (the copy of the configuration is newer)' 'REPORT' \
    '! mk sensitivity CALIB_N=16 SET=autoquant.dtype=fp32 LAUNCH=false'
fresh 'after scoring of two cells failed' '' \
    'mk recipe CALIB_N=16 && ! mk recipe CALIB_N=16 MENU="fp4_fp8 fp8_fp8" LAUNCH=false'
# what make -n may write is what it takes to find out what is stale
results() { find tmp -type f ! -path '*/config/*' ! -name '*.id' ! -name '*.args' ! -name '*.due' ! -name '.*' \
    -printf '%p %i %T@\n' | sort; }
restore
results >"$tmp/before"
mk -n sensitivity CALIB_N=16 SET='autoquant.dtype=fp32 autoquant.effective_bits=6' >"$tmp/out" 2>"$tmp/err" &&
    grep -q autoquant-score "$tmp/out" && results | diff "$tmp/before" - >"$tmp/err"
report $? 'make -n shows what a setting would rerun and touches no result'
mk -q sensitivity CALIB_N=16 SET=autoquant.dtype=fp32 >"$tmp/out" 2>"$tmp/err"
[ $? = 1 ] && [ ! -s "$tmp/out" ] && [ ! -s "$tmp/err" ]
report $? 'make -q says 1, and nothing else, where a setting would rerun something'
row 'and the next run keeps the scores' 'MANIFEST REPORT REPORT' :
mk -q sensitivity PAIR=fp4_fp9 >"$tmp/out" 2>&1
[ $? = 2 ]
report $? 'make -q: 2 for an error'

# ---- several cells
restore
mk recipe CALIB_N=16 MENU='fp4_fp8 fp8_fp8 int8_fp16' >"$tmp/out" 2>"$tmp/err" && [ "$(stages)" = 'SCORE SEARCH' ] &&
    mk recipe CALIB_N=16 MENU='int8_fp16 fp8_fp8' >"$tmp/out" 2>"$tmp/err" && [ "$(stages)" = 'SEARCH' ] &&
    mk -q recipe CALIB_N=16 MENU='fp8_fp8 int8_fp16'
report $? 'a recipe scores what is missing; the order of the menu means nothing'
row 'the cell that was there is as it was' '' :

# ---- the code
restore
cp -a "$build" stages "$tmp/saved"
row 'another commit' '' 'rm -f .git "$build/commit"'
# (a sanitizer's code holds line numbers)
case $build in */asan) last='$' ;; *) last=2 ;; esac
row 'a comment in the code of a stage' '' 'sed -i "${last}i /* note */" stages/report-md.c'
row 'the code of report-md' 'REPORT' 'sed -i "s/a manifest to per-layer/manifest to per-layer/" stages/report-md.c'
row 'the code of calib-pack' 'PACK' 'sed -i "s/tokenize captions/take captions/" stages/calib-pack.c'
rm -rf "$build" stages && mv "$tmp/saved/${build##*/}" "$build" && mv "$tmp/saved/stages" .
[ ! -e "$top/.git" ] || ln -s "$top/.git" .

# ---- weights
restore
row 'weights touched' 'EXTRACT' 'touch $weights'
row 'config.json spelled differently' 'EXTRACT' 'sed -i "s/^{/{ /" models/tiny_qwen3_vl/config.json'
row 'tokenizer touched' '' 'touch models/tiny_qwen3_vl/tokenizer*.json'
row 'tokenizer spelled differently' 'PACK' 'echo >>models/tiny_qwen3_vl/tokenizer.json'
row 'a weight of the vision tower changed' 'EXTRACT' \
    'printf "\\001" | dd of=$weights bs=1 seek=$(($(stat -c %s $weights) - 200000)) conv=notrunc'
row 'a weight changed' "EXTRACT $scored" 'printf "\\001" | dd of=$weights bs=1 seek=1000000 conv=notrunc'
cp -a "$top/models/." models/

# ---- killed: the next run completes, and nothing shows that there was a kill
normal "$tmp/uninterrupted" >"$tmp/want"
printf '#!/bin/sh\n: >started\nexec sleep 60\n' >"$tmp/hang" && chmod +x "$tmp/hang"
# interrupted: wait for the make of process $pid to be killed, run again, compare
interrupted() {
    gone "$pid"
    run && [ $rc = 0 ] && [ ! -s "$tmp/err" ] && normal tmp/run >"$tmp/got" && cmp "$tmp/want" "$tmp/got" >"$tmp/err" &&
        no_halves tmp/run
    report $? "$1"
}
for delay in 0.03 0.1 0.17 0.24 0.31 0.4; do
    rm -rf tmp/run
    setsid sh -c "${QSENS_MAKE:-make MODE=${build##*/}} sensitivity CALIB_N=16" >/dev/null 2>&1 &
    pid=$!
    sleep $delay
    kill -9 -$pid 2>/dev/null
    interrupted "killed after $delay s"
done
rm -rf tmp/run
setsid sh -c "${QSENS_MAKE:-make MODE=${build##*/}} sensitivity CALIB_N=16 LAUNCH='$tmp/hang'" >/dev/null 2>&1 &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e started ] || sleep 0.5; done
mk sensitivity CALIB_N=16 >"$tmp/out" 2>"$tmp/err"
[ $? = 2 ] && grep -q 'another make is at work in this tree' "$tmp/err" && [ "$(wc -l <"$tmp/err")" = 1 ]
report $? 'a second make beside one that scores says so'
mk where CALIB_N=16 >"$tmp/out" 2>"$tmp/err"
report $? 'make where works beside it'
kill -9 -$pid 2>/dev/null
interrupted 'killed while it scored'

# ---- speed
case $build in
*/release)
    best=999999
    for _ in 1 2 3 4 5; do
        t=$(date +%s%N)
        run
        t=$((($(date +%s%N) - t) / 1000000))
        [ $t -ge $best ] || best=$t
    done
    [ $best -lt 500 ]
    report $? "a make with nothing to do takes $best ms"
    ;;
esac
echo "1..$n"
