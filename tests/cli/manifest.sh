#!/bin/sh
# manifest: scores.json and lm.json to the manifest, on the bundled model; then both reports of it.
. tests/cli/scratch
F=tests/fixtures/manifest
for t in manifest extract-lm; do
    if [ ! -x "$B/$t" ]; then echo "1..0 # SKIP $t is not built"; exit 0; fi
done
tool=manifest

"$B/extract-lm" -o "$D/lm.json" models/tiny_qwen3_vl 2>"$D/err"; ok $? "extract-lm on the bundled model"
set -- --lm "$D/lm.json" --model-id tiny_qwen3_vl --dataset-name coco2017_captions --dataset-size medium \
    --dataset-root datasets --max-samples 128
run 0 "the sample" "$@" "$F/scores.fp4_fp8.json"
cmp -s "$D/out" "$F/fp4_fp8.json"; ok $? "  the committed manifest to the byte"
printf '%s\n' "$@" >"$D/args"
run 0 "arguments from a file" "@$D/args" -o "$D/deep/m.json" "$F/scores.fp4_fp8.json"
cmp -s "$D/deep/m.json" "$F/fp4_fp8.json"; ok $? "  the same, into a new directory"
run 0 "the configuration's words" --lm "$D/lm.json" --scheme mine --score-size 16 --dataset-root /data \
    --captions c.txt --overrides '{"*weight_quantizer": {"axis": 0}}' --composed conf.yaml --bits 6 \
    "$F/scores.fp4_fp8.json"
says out '"name": "mine"'
says out '"auto_quantize_score_size": 16'
says out '"auto_quantize_bits": 8.436897435897436'
says out '"id": "models/tiny_qwen3_vl"'
says out '"root": "/data"'
says out '"captions_path": "c.txt"'
says out '"axis": 0'
says out '"composed_yaml_path": "conf.yaml"'
grep -q max_calib_samples "$D/out"; [ $? = 1 ]; ok $? "  no key for what is not known"
cp "$D/out" "$D/mine.json"
for t in report-md report-json; do
    "$B/$t" "$D/mine.json" >"$D/out" 2>"$D/err"; ok $? "$t reads it"
done
run 0 "a budget that the vision units take up" --lm "$D/lm.json" --bits 3.9 "$F/scores.fp4_fp8.json"
says out '"is_satisfied": false'
says err 'no recipe fits'
run 2 "bits above 16" --lm "$D/lm.json" --bits 20 "$F/scores.fp4_fp8.json"
says err 'reaches 4 to 16'
run 2 "no units" "$F/scores.fp4_fp8.json"
says err 'give --lm'
run 2 "no scores" --lm "$D/lm.json"
run 2 "overrides that are no object" --lm "$D/lm.json" --overrides '[' "$F/scores.fp4_fp8.json"
sed 's/"weights_sha256": "7/"weights_sha256": "8/' "$F/scores.fp4_fp8.json" >"$D/weights.json"
run 2 "scores of other weights" --lm "$D/lm.json" "$D/weights.json"
says err 'weights_sha256 is'
sed 's/"score": 0.03166464030800853/"score": 0.5/' "$F/scores.fp4_fp8.json" >"$D/bad.json"
run 3 "scores that contradict themselves" --lm "$D/lm.json" -o "$D/none.json" "$D/bad.json"
says err 'add up to'
[ ! -e "$D/none.json" ]; ok $? "  and no file is left"
run 3 "units that are none" --lm "$D/bad.json" "$F/scores.fp4_fp8.json"
run 1 "a missing file" --lm "$D/lm.json" "$D/none-such.json"
run 0 "the help" --help
says out 'usage: manifest'
example=$(sed -n '/^example:/{n;s/^ *//p;}' "$D/out" | sed "s#tmp/lm.json#$D/lm.json#")
sh -c "\"$B\"/$example" >"$D/out" 2>"$D/err"; ok $? "the example of the help runs: $example"
echo "1..$n"
