#!/bin/sh
# import-manifest: manifests of both stacks as runs on which reports, search and index work; refusals.
. tests/cli/scratch
M=tests/fixtures/manifest/fp4_fp8.json
P=../shared/data/published
tool=import-manifest
# A manifest of the reference's older layout, made of ours.
old() { jq 'del(.qsens, .dataset, .quantization, .run_config)'"$2" "$M" >"$D/$1"; }

N=wfp4_afp8_autoquant_lm_quant_manifest.json
run 0 "ours" -o "$D/a/b" "$M"
[ "$(cat "$D/out")" = "$D/a/b" ]; ok $? "  prints the directory"
cmp -s "$D/a/b/$N" "$M"; ok $? "  the manifest byte for byte under its name"
cp "$D/a/b/import.json" "$D/out"
says out "\"path\": \"$M\""
says out "\"sha256\": \"$(sha256sum <"$M" | cut -c1-64)\""
says out '"tool": "qsens"'
says out '"pair": "fp4_fp8"'
says out '"sequences": 128'
before=$(stat -c '%n %y %i' "$D"/a/b/*)
run 0 "again" -o "$D/a/b" "$M"
[ "$before" = "$(stat -c '%n %y %i' "$D"/a/b/*)" ]; ok $? "  touches nothing"
run 0 "below a root" --root "$D/run" "$M"
[ -e "$D/run/tiny_qwen3_vl/coco2017_captions-n128-imported/fp4_fp8/default/$N" ]; ok $? "  by model, data, pair, granularity"
run 0 "from standard input" -o "$D/stdin" - <"$M"
cmp -s "$D/stdin/$N" "$M"; ok $? "  the same bytes"

old int8.json '| .scheme.name = "wint8_afp16_autoquant_lm" | .scheme.quant_formats = ["INT8_WEIGHT_ONLY_CFG"]'
run 0 "the older layout" --root "$D/run" "$D/int8.json"
O=$D/run/tiny_qwen3_vl/dataset-unknown-imported/int8_fp16/default
[ -e "$O/wint8_afp16_autoquant_lm_quant_manifest.json" ]; ok $? "  what it does not know is not invented"
grep -q 'sequences\|dataset' "$O/import.json"; [ $? = 1 ]; ok $? "  nor in import.json"
for t in "report-md" "report-json" "recipe-search"; do
    "$B/$t" "$O"/*_quant_manifest.json >"$D/out" 2>"$D/err"; ok $? "$t works on it"
done
"$B/report-index" "$O" >"$D/out" 2>"$D/err"; ok $? "report-index works on it"
says out 'int8_fp16|reference stack|'
old other.json '| .scheme.name = "mine"'
run 0 "a scheme that says nothing: the format does" -o "$D/mine" "$D/other.json"
cp "$D/mine/import.json" "$D/out"
says out '"pair": "fp4_fp8"'
old custom.json '| .scheme.quant_formats = ["MY_CFG"]'
run 0 "a format of one's own: the scheme says it" -o "$D/custom" "$D/custom.json"
old unknown.json '| .scheme.name = "mine" | .scheme.quant_formats = ["MY_CFG"]'
run 2 "neither says it" -o "$D/none" "$D/unknown.json"
says err 'give --pair'
run 0 "the option does" --pair int8_fp16 -o "$D/option" "$D/unknown.json"
"$B/report-index" "$D/option" >"$D/out" 2>"$D/err"
says out 'int8_fp16'
old contradiction.json '| .scheme.quant_formats = ["INT8_DEFAULT_CFG"]'
run 2 "they contradict each other" -o "$D/none" "$D/contradiction.json"
says err 'says fp4_fp8, but its format INT8_DEFAULT_CFG is int8_int8'
run 2 "another pair than ours was scored with" --pair int8_fp16 -o "$D/none" "$M"
says err 'was scored with pair fp4_fp8'
run 2 "a pair that is none" --pair nonsense -o "$D/none" "$D/unknown.json"
old path.json '| .scheme.name = "../../wfp4_afp8"'
run 2 "a scheme that is a path" -o "$D/none" "$D/path.json"
says err 'cannot be a file name'
sed 's/"rank": 40/"rank": 39/' "$M" >"$D/lie.json"
run 3 "a manifest that contradicts itself" -o "$D/none" "$D/lie.json"
says err 'rank is 39'
run 3 "an empty file" -o "$D/none" /dev/null
run 1 "a missing file" -o "$D/none" "$D/none-such.json"
[ ! -e "$D/none" ]; ok $? "nothing was written for these"
mkdir "$D/scored" && : >"$D/scored/scores.json"
run 2 "into a scored run" -o "$D/scored" "$M"
says err 'was scored here'
run 2 "into a run of another manifest" -o "$D/a/b" "$D/int8.json"
says err 'holds another manifest'
run 2 "no operand"
run 0 "the help" --help
example=$(sed -n '/^example:/{n;s/^ *//p;}' "$D/out" | sed "s#tmp/imported#$D/example#")
sh -c "\"$B\"/$example" >"$D/out" 2>"$D/err"; ok $? "the example of the help runs: $example"

if [ -d "$P" ]; then
    for m in "$P"/*/*_quant_manifest.json; do
        run 0 "published $(basename "$(dirname "$m")")" --root "$D/published" "$m"
        R=$(cat "$D/out")
        "$B/report-json" "$R"/*_quant_manifest.json | cmp -s - "$(dirname "$m")/per-layer-sensitivity.json"
        ok $? "  its JSON report is the reference's"
    done
else
    n=$((n + 1)); echo "ok $n - published manifests # SKIP $P is not here"
fi
echo "1..$n"
