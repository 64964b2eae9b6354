#!/bin/sh
# conf/schema: every artifact of a real run on the bundled model is valid, so are the reference's published manifests
# (where they are at hand) and what is made of them; a broken artifact is not.
. tests/cli/scratch
S=conf/schema
F=tests/fixtures/manifest
P=../shared/data/published
if ! python3 -c 'import jsonschema' 2>/dev/null; then echo "1..0 # SKIP python3-jsonschema is not installed"; exit 0; fi
run() { # run NAME TOOL ARGS...
    name=$1 tool=$2
    shift 2
    "$B/$tool" "$@" >"$D/stdout" 2>"$D/err"; ok $? "$name"
}

# The validator, once for all files: lines "SCHEMA FILE" in, lines "FILE: ok" or "FILE: PLACE: reason" out.
cat >"$D/validate.py" <<'PY'
import json, sys
from jsonschema import Draft202012Validator as V
for line in sys.stdin:
    schema, file = line.rstrip("\n").split(" ", 1)
    schema = json.load(open(schema))
    V.check_schema(schema)
    error = next(iter(V(schema).iter_errors(json.load(open(file)))), None)
    print(file + ": " + ("/".join(map(str, error.absolute_path)) + ": " + error.message[:200] if error else "ok"))
PY
check() { # check SCHEMA FILE: to be valid
    printf '%s\n' "$S/$1.schema.json $2" >>"$D/list"
}

# ---- a real run
run "extract-lm" extract-lm -o "$D/lm.json" models/tiny_qwen3_vl
run "calib-pack" calib-pack --model models/tiny_qwen3_vl --max-samples 16 -o "$D/c.safetensors" \
    conf/dataset/sample_captions.txt
mkdir -p "$D/run"
for p in fp4_fp8 int8_fp16; do
    run "compose-config $p" compose-config --pair $p --calib-n 16 -o "$D/run/$p"
    set -- "$@" --cell "$D/run/$p/pair.yaml=$D/run/$p"
done
run "autoquant-score" autoquant-score --split --lm "$D/lm.json" --calib "$D/c.safetensors" "$@"
check lm "$D/lm.json"
for p in fp4_fp8 int8_fp16; do
    R=$D/run/$p
    m=$R/w$(echo $p | sed 's/_/_a/')_autoquant_lm_quant_manifest.json
    run "manifest $p" manifest "@$R/args/manifest" --lm "$D/lm.json" -o "$m" "$R/scores.json"
    run "report-json $p" report-json -o "$R/report.json" "$m"
    check scores "$R/scores.json"
    check manifest "$m"
    check report "$R/report.json"
done
run "recipe-search" recipe-search --bits 6 --lm "$D/lm.json" --name mix -o "$D/recipe.json" "$D"/run/*/scores.json
run "report-index" report-index --json "$D/index.json" "$D/run/fp4_fp8" "$D/run/int8_fp16" "$F/fp4_fp8.json"
run "import-manifest" import-manifest -o "$D/imported" "$F/fp4_fp8.json"
run "publish-run" publish-run --root "$D/models" "$D/run/fp4_fp8" "$D/imported"
cell=$D/plan/model/data-n16/fp4_fp8/default
run "compose-config for plan-run" compose-config --pair fp4_fp8 --calib-n 16 -o "$cell/config"
cp "$cell/config/args/extract-lm" "$D/plan/model/extract-lm.args"
cp "$cell/config/args/calib-pack" "$D/plan/model/data-n16/calib-pack.args"
run "device-speed" device-speed --json -j 1 cpu && mv "$D/stdout" "$D/device.json"
check device "$D/device.json"
run "plan-run" plan-run --json --device "$D/device.json" --status "$cell" && mv "$D/stdout" "$D/plan.json"
check plan "$D/plan.json"
check recipe "$D/recipe.json"
check index "$D/index.json"
check import "$D/imported/import.json"
for f in "$D"/models/*/layer-analysis/*/*/*/*_quant_manifest.json; do check manifest "$f"; done
for f in "$D"/models/*/layer-analysis/*/*/*/per-layer-sensitivity.json; do check report "$f"; done
for f in "$D"/models/*/layer-analysis/sensitivity-index.json; do check index "$f"; done

# ---- of GPUs
mkdir "$D/gpu" && jq '.arithmetic += {backend: "cuda", gemm_sha256: .inputs.tokens_sha256}' "$D/run/fp4_fp8/scores.json" \
    >"$D/gpu/scores.json"
run "manifest of a GPU's scores" manifest "@$D/run/fp4_fp8/args/manifest" --lm "$D/lm.json" -o "$D/gpu/manifest.json" \
    "$D/gpu/scores.json"
run "report-json of it" report-json -o "$D/gpu/report.json" "$D/gpu/manifest.json"
check scores "$D/gpu/scores.json"
check manifest "$D/gpu/manifest.json"
check report "$D/gpu/report.json"
jq -e '.qsens.arithmetic.gemm_sha256 == .qsens.inputs.tokens_sha256' "$D/gpu/manifest.json" >"$D/err"
ok $? "the manifest keeps the hash of gemm.json"
check gemm tests/fuzz/corpus/gemm_table/table.json
check gemm-used tests/fixtures/gemm.json

# ---- the reference's
if [ -d "$P" ]; then
    for m in "$P"/*/*_quant_manifest.json; do
        check manifest "$m"
        check report "$(dirname "$m")/per-layer-sensitivity.json"
    done
    run "report-index of published manifests" report-index --json "$D/published.json" "$P"/*/*_quant_manifest.json
    check index "$D/published.json"
fi
python3 "$D/validate.py" <"$D/list" >"$D/out" 2>"$D/err"; ok $? "the schemas are valid draft 2020-12"
while read -r line; do
    case $line in (*": ok") ok 0 "valid: ${line#"$D/"}";; (*) echo "$line" >"$D/err"; ok 1 "valid: $line";; esac
done <"$D/out"
[ "$(wc -l <"$D/out")" = "$(wc -l <"$D/list")" ]; ok $? "every file was looked at"

# ---- broken ones
broken() { # broken SCHEMA FILE SED-SCRIPT REASON
    sed "$3" "$2" >"$D/broken.json"
    cmp -s "$2" "$D/broken.json" && { echo "the edit changed nothing" >"$D/err"; ok 1 "$1: $3"; return; }
    echo "$S/$1.schema.json $D/broken.json" | python3 "$D/validate.py" >"$D/err" 2>&1
    grep -q "$4" "$D/err"; ok $? "refused as $1: $3"
}
broken scores "$D/run/fp4_fp8/scores.json" 's/"bits": 4/"bits": "4"/' "pair/bits: '4' is not of type 'integer'"
broken scores "$D/run/fp4_fp8/scores.json" 's/"loss":/"lost":/' "'loss' is a required property"
broken scores "$D/run/fp4_fp8/scores.json" 's/"weights_sha256": "./"weights_sha256": "x/' 'weights_sha256: .* does not match'
broken scores "$D/run/fp4_fp8/scores.json" 's/"se": /"so": /' 'statistics/'
broken scores "$D/run/fp4_fp8/scores.json" 's/"interaction_share": /"share": /' 'split: '
broken manifest "$D/run/fp4_fp8/wfp4_afp8_autoquant_lm_quant_manifest.json" 's/"no_errors": null/"no_errors": 0/' 'no_errors: 0 is not of type'
broken lm "$D/lm.json" 's/"dtype": "BF16"/"dtype": "F8"/' "dtype: 'F8' is not one of"
broken lm "$D/lm.json" 's/"role": "q"/"rule": "q"/; s/"role": "[a-z_]*"/"rule": 1/' 'role'
broken recipe "$D/recipe.json" 's/"satisfied": true/"satisfied": 1/' "satisfied: 1 is not of type 'boolean'"
broken manifest "$F/fp4_fp8.json" 's/"rank": 40/"rank": 0/' 'rank: 0 is less than the minimum'
broken manifest "$F/fp4_fp8.json" 's/lm_head.quant_recipe": {/lm_head": {/' 'layer_sensitivity: .*lm_head'
broken manifest "$F/fp4_fp8.json" 's/"bound"/"bond"/' 'qsens/recipe: '
broken report "$D/run/fp4_fp8/report.json" 's/"cumulative_share"/"chair"/' 'qsens/groups/0: '
broken index "$D/index.json" 's/"version": 1/"version": 2/' 'version: 1 was expected'
broken device "$D/device.json" 's/"gemm_flops": /&-/' 'gemm_flops: .* less than or equal to the minimum'
broken device "$D/device.json" 's/"threads": 1/"compute_capability": "9.0"/' "'driver_cuda' is a dependency of"
broken gemm tests/fuzz/corpus/gemm_table/table.json 's/"algorithm": "../"algorithm": "/' 'algorithm: .* does not match'
broken gemm-used tests/fixtures/gemm.json 's/"kernel"/"corn"/' "source: 'corn' is not one of"
broken import "$D/imported/import.json" 's/"sha256": "/&0/' 'source/sha256: '
echo "1..$n"
