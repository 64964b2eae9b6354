#!/bin/sh
# Grids of cells: which cells a sweep reruns, sweeps that are killed, several models and datasets, publish and import.
# shellcheck disable=SC2016,SC2034 # edits are evaluated later
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
rm "$tree/models" && cp -a "$top/models" "$tmp/models" && rm -rf "$tmp"/models/*/layer-analysis &&
    ln -s "$tmp/models" "$tree/models"
cd "$tree" && mk all >"$tmp/out" || exit 1
pairs='fp4_fp8 int8_int8 fp8_fp16'
model=tmp/run/tiny_qwen3_vl

# run ARGS...: the sweep that rows are about; exit code in $rc
run() {
    mk -j2 sweep PAIRS="$pairs" CALIB_NS='8 16' "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
}
# steps: what the make whose output is in $tmp/out has run, a sorted line each, in the words of the functions below
steps() {
    sed -n 's#tmp/run/tiny_qwen3_vl/##; s#sample_captions-##
        s#/[^/]*_quant_manifest\.json$##; s#/calib\.safetensors$##; s#/per-layer-sensitivity\.# #
        s#^  \(EXTRACT\|PACK\|SCORE\|MANIFEST\|REPORT\|INDEX\|SEARCH\)  *#\1 #p' "$tmp/out" | sort
}
extracted() { echo 'EXTRACT lm.json'; }
packed() { printf 'PACK n%s\n' "$@"; }
scored() { # CAPTIONS GRANULARITY PAIR...: in one process, and what follows
    captions=$1 granularity=$2
    shift 2
    echo "SCORE n$captions $granularity ($# pair$([ $# = 1 ] || echo s))"
    for p; do made "n$captions/$p/$granularity"; done
}
made() { for c; do echo "MANIFEST $c" && reported "$c"; done; }
reported() { for c; do printf 'REPORT %s %s\n' "$c" json "$c" md; done; }
indexed() { echo 'INDEX sensitivity-index.md'; }
all_scored() { for captions in 8 16; do eval "scored $captions default $pairs"; done && indexed; }
all_cells=$(for p in $pairs; do echo "n8/$p/default n16/$p/default"; done)
# ran WANT: those steps and no others, nothing on stderr, nothing half-written
ran() {
    eval "$1" | sort >"$tmp/want"
    [ $rc = 0 ] && [ ! -s "$tmp/err" ] && steps | diff "$tmp/want" - >"$tmp/err" && no_halves tmp
}
# row NAME WANT EDIT ARGS...: after EDIT, a sweep with ARGS runs the steps that WANT prints and leaves nothing to do
row() {
    name=$1 want=$2 edit=$3
    shift 3
    eval "$edit" >"$tmp/out" 2>&1
    edited=$?
    run "$@"
    [ $edited = 0 ] && ran "$want" && mk -q sweep PAIRS="$pairs" CALIB_NS='8 16' "$@"
    report $? "$name: $([ -s "$tmp/want" ] && sed 's/ .*//' "$tmp/want" | uniq -c | xargs || echo nothing)"
}
snapshot() { mkdir -p "$tmp/saved/tmp" && cp -a conf "$tmp/saved" && cp -a tmp/run "$tmp/saved/tmp"; }
restore() { rm -rf conf tmp/run && cp -a "$tmp/saved/." .; }
# fresh ...: a row that starts from the snapshot
fresh() { restore && row "$@"; }

row 'first sweep' 'extracted; packed 8 16; all_scored' :
[ "$(tail -n 1 "$tmp/out")" = "  RESULT    $model/sensitivity-index.md" ] &&
    [ "$(jq '.cells | length' $model/sensitivity-index.json)" = 6 ]
report $? 'it says where the index is, of six cells'
snapshot
normal tmp/run >"$tmp/uninterrupted"
row 'second sweep' : :

# ---- edits that mean nothing
fresh 'a comment in a pair file' : 'sed -i "1i # note" conf/quant_pair/int8_int8.yaml'
fresh 'configuration, captions and scores touched' : \
    'touch conf/*/* && for f in scores.json "*_manifest.json" "per-layer*" "sensitivity-index*"; do
        find tmp/run -name "$f" -exec touch {} +; done'
fresh 'defaults spelled out' : : SET='autoquant.dtype=bf16 autoquant.effective_bits=8' GRANULARITIES=default \
    MODELS=tiny_qwen3_vl DATASETS=sample_captions
fresh 'pairs and sizes in another order, one twice' : : PAIRS='fp8_fp16 int8_int8 fp4_fp8 int8_int8' CALIB_NS='16 8 8'
fresh 'a single make beside it' : 'mk sensitivity CALIB_N=8 PAIR=int8_int8 >"$tmp/single"'
[ "$(cat "$tmp/single")" = "  RESULT    $model/sample_captions-n8/int8_int8/default" ]
report $? 'which had nothing to do either'

# ---- another grid
fresh 'a pair more' 'scored 8 default fp8_fp8; scored 16 default fp8_fp8; indexed' : PAIRS="$pairs fp8_fp8"
row 'and without it' 'indexed' :
[ "$(jq '.cells | length' $model/sensitivity-index.json)" = 6 ]
report $? 'the index is of this grid'
row 'and with it' 'indexed' : PAIRS="$pairs fp8_fp8"
fresh 'a size more' 'packed 24; eval "scored 24 default $pairs"; indexed' : CALIB_NS='8 16 24'
fresh 'a size less' 'indexed' : CALIB_NS=16
fresh 'a granularity more' 'for s in 8 16; do scored $s w_group64 fp8_fp16 int8_int8; done; indexed' \
    'rm -r $model/*/fp4_fp8' PAIRS='int8_int8 fp8_fp16' GRANULARITIES='default w_group64'
fresh 'a pair that was scored alone' 'scored 16 default fp8_fp8; indexed' \
    'mk sensitivity CALIB_N=8 PAIR=fp8_fp8' PAIRS="$pairs fp8_fp8"

# ---- edits of the configuration
fresh 'a quantizer of a pair' 'scored 8 default fp8_fp16; scored 16 default fp8_fp16; indexed' \
    'sed -i "s/format: fp8/format: int8/" conf/quant_pair/fp8_fp16.yaml'
fresh 'budget' 'made $all_cells; indexed' : SET=autoquant.effective_bits=10
fresh 'dtype' 'all_scored' : SET=autoquant.dtype=fp32
fresh 'a caption beyond 8, within 16' 'packed 8 16; eval "scored 16 default $pairs"; indexed' \
    'sed -i "12s/^/Look: /" conf/dataset/sample_captions.txt'
fresh 'a caption within 8' 'packed 8 16; all_scored' 'sed -i "3s/^/Look: /" conf/dataset/sample_captions.txt'
fresh 'a caption beyond both' 'packed 8 16' 'sed -i "300s/^/Look: /" conf/dataset/sample_captions.txt'

# ---- results that are gone or were tampered with
cell=$model/sample_captions-n16/int8_int8/default
this='scored 16 default int8_int8; indexed'
fresh 'scores.json of a cell deleted' "$this" 'rm $cell/scores.json'
fresh 'scores.json truncated' "$this" 'truncate -s 100 $cell/scores.json'
fresh 'scores.json of another cell in its place' "$this" 'cp ${cell%/*/*}/fp4_fp8/default/scores.json $cell'
fresh 'records of a cell deleted' "$this" 'rm $cell/records.safetensors'
fresh 'a cell deleted' "$this" 'rm -r $cell'
fresh 'all cells of a pair deleted' 'scored 8 default int8_int8; scored 16 default int8_int8; indexed' \
    'rm -r $model/*/int8_int8'
fresh 'a manifest deleted' 'made n16/int8_int8/default; indexed' 'rm $cell/*_manifest.json'
fresh 'reports of a cell deleted' 'reported n16/int8_int8/default' 'rm $cell/per-layer-sensitivity.*'
fresh 'the index deleted' 'indexed' 'rm $model/sensitivity-index.md'
fresh 'the captions of a size deleted' 'packed 16' 'rm $model/*-n16/calib.safetensors'

# ---- sweeps that fail
fresh 'after one whose scoring failed' : '! mk sweep CALIB_NS="8 16" PAIRS="$pairs fp8_fp8" LAUNCH=false'
printf '#!/bin/sh\ncase $* in *n16*) exit 1 ;; esac\nexec "$@"\n' >"$tmp/no16" && chmod +x "$tmp/no16"
fresh 'after one whose scoring failed at one of the sizes' 'scored 16 default fp8_fp8; indexed' \
    '! mk -k sweep CALIB_NS="8 16" PAIRS="$pairs fp8_fp8" LAUNCH="$tmp/no16"' PAIRS="$pairs fp8_fp8"
restore
rm -r tmp/run
files() { find . -path ./tmp/build -prune -o -type f ! -name '.*' -printf '%p %i %T@\n' | sort; }
# refused MESSAGE ARGS...: exit code 2 and a sentence, before any work: no file is new or another
refused() {
    message=$1
    shift
    files >"$tmp/before"
    run "$@"
    [ $rc = 2 ] && head -n 1 "$tmp/err" | grep -qF -- "$message" && [ -z "$(steps)" ] &&
        [ "$(grep -cv '^make: \*\*\* ' "$tmp/err")" = 1 ] && files | diff "$tmp/before" - >"$tmp/out"
    report $? "refused: $message"
}
refused "granularity 'w_per_tensor' on pair 'fp4_fp8': weight: fp4 weights need block scales" \
    GRANULARITIES='default w_per_tensor'
restore
refused "granularity 'w_per_tensor' on pair 'fp4_fp8': weight: fp4 weights need block scales" \
    GRANULARITIES='default w_per_tensor'
refused "no quant_pair 'fp4_fp9'" PAIRS='fp8_fp8 fp4_fp9'
refused "no quant_granularity 'fine'" GRANULARITIES='default fine'
refused "no model 'none'" MODELS='tiny_qwen3_vl none'
refused 'CALIB_NS must be whole numbers above 0' CALIB_NS='8 many'
refused 'CALIB_NS must not be empty' CALIB_NS=' '
refused 'PAIRS must not be empty' PAIRS=
refused 'PAIRS must be plain' PAIRS='fp8_fp8;x'
refused 'two pairs of the same name' PAIRS='fp8_fp8 conf/quant_pair/fp8_fp8.yaml'

# ---- the code of the reports
cp -a "$build" stages "$tmp/saved"
row 'the code of report-md' 'reported $all_cells | grep md' \
    'sed -i "s/a manifest to per-layer/manifest to per-layer/" stages/report-md.c'
row 'the code of report-index' 'indexed' 'sed -i "s/summary = \"/&The /" stages/report-index.c'
rm -rf "$build" stages && mv "$tmp/saved/${build##*/}" "$build" && mv "$tmp/saved/stages" .

# ---- killed: the next sweep completes, redoes no finished cell, and nothing shows that there was a kill
# finished: the scores of finished cells, by the last line of scores.key
finished() {
    find tmp/run -name scores.key -exec grep -l '^result .' {} + 2>/dev/null | sed 's/key$/json/' |
        xargs -r stat -c '%n %i %Y' | sort
}
mkfifo "$tmp/lines"
# as LINES.FRACTION: after so many printed lines and that fraction of a second
for point in 1.0 2.0 3.0 4.02 5.0 5.02 6.0 9.0 14.0 20.0; do
    rm -rf tmp/run
    setsid sh -c "${QSENS_MAKE:-make MODE=${build##*/}} -j2 sweep PAIRS='$pairs' CALIB_NS='8 16'" >"$tmp/lines" 2>&1 &
    pid=$!
    { head -n ${point%.*} >/dev/null && sleep 0.${point#*.} && kill -9 -$pid 2>/dev/null; } <"$tmp/lines"
    gone $pid
    finished >"$tmp/finished"
    run
    [ $rc = 0 ] && [ ! -s "$tmp/err" ] && normal tmp/run >"$tmp/got" && no_halves tmp/run &&
        cmp "$tmp/uninterrupted" "$tmp/got" >"$tmp/err" && [ -z "$(finished | comm -13 - "$tmp/finished")" ]
    report $? "killed at $point with $(wc -l <"$tmp/finished") of 6 cells finished"
done

# ---- several models and datasets
restore
for m in a b; do
    cp -a models/tiny_qwen3_vl models/$m && sed "s/tiny_qwen3_vl/$m/" conf/model/tiny_qwen3_vl.yaml >conf/model/$m.yaml
done
for d in x y; do
    cp conf/dataset/sample_captions.txt conf/dataset/$d.txt
    sed "s/sample_captions/$d/" conf/dataset/sample_captions.yaml >conf/dataset/$d.yaml
done
sed -i '1s/^/Look: /' conf/dataset/y.txt
# grid NAME WANT EDIT ARGS...: after EDIT, a sweep of both models and datasets runs the steps that match WANT
grid() {
    name=$1 want=$2 edit=$3
    shift 3
    set -- sweep MODELS='a b' DATASETS='x y' CALIB_NS=8 PAIRS='fp4_fp8 int8_int8' "$@"
    eval "$edit" && mk -j2 "$@" >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/err" ] &&
        [ "$(steps | sed 's/ .*//' | uniq -c | xargs)" = "$want" ] && mk -q "$@"
    report $? "$name: ${want:-nothing}"
}
grid 'two models, two datasets' '2 EXTRACT 1 INDEX 8 MANIFEST 4 PACK 16 REPORT 4 SCORE' :
for d in a/x a/y b/x b/y; do
    printf 'tmp/run/%s-n8/%s/default/scores.json\n' $d fp4_fp8 $d int8_int8
done >"$tmp/want"
find tmp/run/a tmp/run/b -name scores.json | sort | diff "$tmp/want" - >"$tmp/err"
report $? 'a directory for each cell'
sed -n 's/^|.*(<\(.*\)>)|.*/\1/p' tmp/run/sensitivity-index.md >"$tmp/links"
[ "$(tail -n 1 "$tmp/out")" = '  RESULT    tmp/run/sensitivity-index.md' ] &&
    [ "$(sort -u "$tmp/links" | wc -l)" = 8 ] && (cd tmp/run && xargs ls <"$tmp/links" >"$tmp/err") &&
    [ -z "$(find tmp/run/a tmp/run/b -name 'sensitivity-index*')" ]
report $? 'the index is in tmp/run, its links lead to eight reports'
groups() { jq -S .groups "tmp/run/$1/int8_int8/default/scores.json"; }
[ "$(groups a/x-n8)" = "$(groups b/x-n8)" ] && [ "$(groups a/x-n8)" != "$(groups a/y-n8)" ]
report $? 'the same weights have the same scores, other captions have others'
grid 'again' '' :
grid 'a caption of one dataset' '1 INDEX 4 MANIFEST 2 PACK 8 REPORT 2 SCORE' 'sed -i "2s/^/Look: /" conf/dataset/y.txt'
grep '^  SCORE' "$tmp/out" | grep -vq /y-n8
[ $? = 1 ]
report $? 'its cells alone'
grid 'weights of one model touched' '1 EXTRACT' 'touch models/b/model.safetensors'
grid 'a weight of one model' '1 EXTRACT 1 INDEX 4 MANIFEST 8 REPORT 2 SCORE' \
    'printf "\\001" | dd of=models/b/model.safetensors bs=1 seek=1000000 conv=notrunc 2>"$tmp/err"'
grep '^  SCORE' "$tmp/out" | grep -vq /b/
[ $? = 1 ]
report $? 'its cells alone'
grid 'one of the models' '1 INDEX' : MODELS=b
rm -r models/a models/b

# ---- three sizes of INT8
restore
# goal NAME WANT GOAL ARGS...: make GOAL ARGS runs the steps that WANT prints
goal() {
    name=$1 want=$2
    shift 2
    mk "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    ran "$want"
    report $? "$name"
}
goal 'make three-phase scores the sizes that are missing' 'packed 24; scored 24 default int8_int8; indexed' \
    three-phase CALIB_NS='8 16 24'
mk -n three-phase >"$tmp/out" 2>"$tmp/err" &&
    [ "$(sed -n 's/.*calib-pack @.*-n\([0-9]*\).*/\1/p' "$tmp/out" | sort -n | xargs)" = '128 512' ]
report $? 'of itself, it takes 16, 128 and 512 captions'

# ---- publish
analysis=models/tiny_qwen3_vl/layer-analysis
published() { find $analysis -type f -printf '%p %i %T@\n' | sort; }
restore
goal 'make publish with PAIRS and CALIB_NS' : publish PAIRS="$pairs" CALIB_NS='8 16'
[ "$(sort "$tmp/out")" = "$(find $analysis -mindepth 3 -type d | sort)" ] && [ "$(wc -l <"$tmp/out")" = 6 ] &&
    while read -r d; do [ "$(find "$d" -type f | wc -l)" = 4 ] || exit 1; done <"$tmp/out"
report $? 'six directories of four files'
published >"$tmp/before"
goal 'again' : publish PAIRS="$pairs" CALIB_NS='8 16'
published | diff "$tmp/before" - >"$tmp/err"
report $? 'touches none of them'
goal 'make publish of one cell' : publish PAIR=int8_int8 CALIB_N=16
[ "$(cat "$tmp/out")" = $analysis/weight-int8-act-int8/default/tiny_qwen3_vl_autoquant_int8_int8_lm_small ]
report $? 'prints its directory'
goal "make publish of a pair that is not scored yet" "scored 8 default fp8_fp8" \
    publish PAIRS='fp8_fp8 int8_int8' CALIB_N=8
mk publish DATASETS='sample_captions x' >"$tmp/out" 2>"$tmp/err"
[ $? = 2 ] && grep -q 'publish takes one dataset' "$tmp/err"
report $? 'make publish of two datasets: refused'

# ---- import, and reports anew
restore
manifest=$top/tests/fixtures/manifest/fp4_fp8.json
goal 'make import' : import FROM="$manifest"
dir=$(sed -n 's/^  RESULT    //p' "$tmp/out")
[ "$(find "$dir" -type f | wc -l)" = 4 ] && cmp "$manifest" "$dir"/*_manifest.json >"$tmp/err"
report $? "manifest, reports and origin are in $dir"
normal tmp/run >"$tmp/before" && find tmp/run -name 'per-layer-sensitivity.*' -delete
goal 'make report after reports were deleted' : report LAUNCH=false
normal tmp/run | cmp "$tmp/before" - >"$tmp/err" && [ "$(wc -l <"$tmp/out")" = 7 ]
report $? 'all of them are back as they were, the imported ones too'
"$build/publish-run" --root models "$dir" >"$tmp/out" 2>"$tmp/err" &&
    [ "$(cat "$tmp/out")" = $analysis/weight-fp4-act-fp8/default/tiny_qwen3_vl_autoquant_fp4_fp8_lm_medium ]
report $? 'the imported run is published'
row 'the sweep beside it' : :
mk import FROM="$tmp/none.json" >"$tmp/out" 2>"$tmp/err"
[ $? = 2 ] && head -n 1 "$tmp/err" | grep -q "^import-manifest: .*none.json"
report $? 'make import of a missing file'

# ---- how much was tried, and how long nothing takes
edits=$(cat "$top/tests/pipe/incremental.sh" "$top/tests/pipe/sweep.sh" | grep -cE "^(row|fresh|grid) '")
[ "$edits" -ge 25 ]
report $? "$edits edits here and in incremental.sh"
big() { mk "$@" sweep CALIB_NS='8 16 24' >"$tmp/out" 2>"$tmp/err"; }
milliseconds() { # COMMAND...
    t=$(date +%s%N)
    "$@"
    echo $((($(date +%s%N) - t) / 1000000))
}
big -j2
report $? '6 pairs x 3 sizes'
echo "# with nothing to do: make sweep $(milliseconds big) ms, make -q sweep $(milliseconds big -q) ms"
echo "1..$n"
