#!/bin/sh
# publish-run: what is written where, that nothing private is in it, idempotence, refusals.
. tests/cli/scratch
F=tests/fixtures/manifest
tool=publish-run
snapshot() { find "$D/models" -type f -exec stat -c '%n %y %i' {} + | sort; }

# Two runs of the bundled model as the pipeline leaves them, with private paths in every place.
"$B/extract-lm" -o "$D/lm.json" models/tiny_qwen3_vl 2>"$D/err"; ok $? "extract-lm"
for p in fp4_fp8 fp8_fp8; do
    R=$D/run/$p
    mkdir -p "$R"
    sed "s#\"source\": \"[^\"]*\"#\"source\": \"/home/me/secret place/captions.txt\"#; s#\"host\": \"[^\"]*\"#\"host\": \"myhost\"#" \
        "$F/scores.$p.json" >"$R/scores.json"
    "$B/manifest" --lm "$D/lm.json" --model-id "$PWD/models/tiny_qwen3_vl" --dataset-root /data/coco \
        --dataset-name captions -o "$R/w${p%_*}_a${p#*_}_autoquant_lm_quant_manifest.json" "$R/scores.json" 2>"$D/err"
    ok $? "manifest of $p"
    cat >"$R/composed-config.yaml" <<YAML
model:
  name: tiny_qwen3_vl
  path: $PWD/models/tiny_qwen3_vl
dataset:
  name: captions
  captions: "/home/me/secret place/captions.txt"
  root: /home/me/coco data
YAML
done
run 0 "two runs" --root "$D/models" "$D/run/fp4_fp8" "$D/run/fp8_fp8"
A=$D/models/tiny_qwen3_vl/layer-analysis
T=weight-fp4-act-fp8/default/tiny_qwen3_vl_autoquant_fp4_fp8_lm_medium
says out "^$A/$T\$"
[ "$(cd "$A/$T" && echo *)" = "composed-config.yaml per-layer-sensitivity.json per-layer-sensitivity.md wfp4_afp8_autoquant_lm_quant_manifest.json" ]
ok $? "  manifest, reports and configuration, nothing else"
grep -rq '/home\|/data\|myhost\|secret' "$A"; [ $? = 1 ]; ok $? "  no absolute path, no host name"
grep -rq -- "$PWD" "$A"; [ $? = 1 ]; ok $? "  nor the working directory"
cp "$A/$T/composed-config.yaml" "$D/out"
says out '^  path: models/tiny_qwen3_vl$'
says out '^  captions: "captions.txt"$'
says out '^  root: coco data$'
cp "$A/$T/wfp4_afp8_autoquant_lm_quant_manifest.json" "$D/out"
says out '"id": "models/tiny_qwen3_vl"'
says out '"source": "captions.txt"'
says out '"root": "coco"'
"$B/report-json" "$A/$T"/*_quant_manifest.json | cmp -s - "$A/$T/per-layer-sensitivity.json"
ok $? "  the report is that of the published manifest"
"$B/report-md" --composed "$A/$T/composed-config.yaml" "$A/$T"/*_quant_manifest.json | cmp -s - "$A/$T/per-layer-sensitivity.md"
ok $? "  with the published configuration"
cp "$A/README.md" "$D/out"
says out '^|\[tiny_qwen3_vl_autoquant_fp8_fp8_lm_medium\](<weight-fp8-act-fp8/default/.*/per-layer-sensitivity.md>)|default|128|'
says out '^make publish PAIR=fp4_fp8 CALIB_N=128 MODEL=tiny_qwen3_vl DATASET=captions$'
for f in $(sed -n 's/.*](<\([^>]*\)>).*/\1/p' "$A/README.md" "$A/sensitivity-index.md"); do
    [ -e "$A/$f" ] || { echo "$f" >>"$D/err"; ok 1 "link $f"; }
done
cp "$A/sensitivity-index.md" "$D/out"
says out 'Scores side by side'
before=$(snapshot)
run 0 "again" --root "$D/models" "$D/run/fp8_fp8" "$D/run/fp4_fp8"
[ "$before" = "$(snapshot)" ]; ok $? "  touches nothing"
cp "$A/README.md" "$D/README"
rm -r "$A" && "$B/publish-run" --root "$D/models" "$D/run/fp8_fp8" >/dev/null && \
    "$B/publish-run" --root "$D/models" "$D/run/fp4_fp8" >/dev/null
cmp -s "$A/README.md" "$D/README"; ok $? "one after the other gives the same README"

# sizes, models, imports
"$B/import-manifest" -o "$D/imported" "$F/fp4_fp8.json" >/dev/null
run 0 "an import, under another name" --root "$D/models" --model other "$D/imported"
I=$D/models/other/layer-analysis/weight-fp4-act-fp8/default/other_autoquant_fp4_fp8_lm_medium
[ -e "$I/import.json" ] && [ ! -e "$I/composed-config.yaml" ]; ok $? "  with import.json"
cp "$D/models/other/layer-analysis/README.md" "$D/out"
says out "^make import FROM=$F/fp4_fp8.json   # sha256 "
jq 'del(.qsens, .dataset, .quantization, .run_config)' "$F/fp4_fp8.json" >"$D/old.json"
"$B/import-manifest" -o "$D/old" "$D/old.json" >/dev/null
run 0 "the older layout" --root "$D/models" --model older "$D/old"
[ -d "$D/models/older/layer-analysis/weight-fp4-act-fp8/default/older_autoquant_fp4_fp8_lm" ]
ok $? "  has no size, as it does not tell it"
grep -q "$D" "$D"/models/older/layer-analysis/README.md; [ $? = 1 ]; ok $? "  nor the place it was read from"

# refusals
cp -r "$D/run/fp4_fp8" "$D/stale"
sed 's/"loss": [0-9.]*/"loss": 3.25/' "$D/run/fp4_fp8/scores.json" >"$D/stale/scores.json"
run 2 "a manifest of other scores" --root "$D/none" "$D/stale"
says err "was not made of its scores.json ('loss' differs)"
cp "$D/run/fp8_fp8/scores.json" "$D/stale/scores.json"
run 2 "scores of another pair" --root "$D/none" "$D/stale"
rm "$D/stale/scores.json"
run 2 "neither scores nor import" --root "$D/none" "$D/stale"
says err 'neither scores.json nor import.json'
cp -r "$D/imported" "$D/edited"
sed 's/"coverage_mode": "lm_only"/"coverage_mode": "all"/' "$F/fp4_fp8.json" >"$D/edited/wfp4_afp8_autoquant_lm_quant_manifest.json"
run 2 "an import that was edited" --root "$D/none" "$D/edited"
says err 'is not the one that was imported'
mkdir "$D/empty"
run 2 "no run" --root "$D/none" "$D/empty"
says err 'it is not a finished run'
cp "$D/run/fp4_fp8/"*_quant_manifest.json "$D/stale/second_quant_manifest.json"
run 2 "two manifests in a run" --root "$D/none" "$D/stale"
says err 'holds 2 manifests'
[ ! -e "$D/none" ]; ok $? "nothing was written for these"
jq '.scheme.name = "mine"' "$F/fp4_fp8.json" >"$D/mine.json"
"$B/import-manifest" -o "$D/mine" "$D/mine.json" >/dev/null
run 2 "another scheme into the same place" --root "$D/models" --model other "$D/mine"
says err 'holds another manifest'
run 2 "no operand"
run 0 "the help" --help
example=$(sed -n '/^example:/{n;s/^ *//p;}' "$D/out" | sed "s#tmp/published#$D/p#; s#tmp/imported#$D/imported#")
sh -c "\"$B\"/$example" >"$D/out" 2>"$D/err"; ok $? "the example of the help runs: $example"
echo "1..$n"
