#!/bin/sh
# recipe-search: results, refusals and their exit codes, on the samples of tests/fixtures.
. tests/cli/scratch
F=tests/fixtures/manifest
if [ ! -x "$B/recipe-search" ]; then echo "1..0 # SKIP recipe-search is not built"; exit 0; fi
tool=recipe-search

run 0 "two pairs" --bits 6 "$F/fp4_fp8.json" "$F/scores.fp8_fp8.json"
says out '"format": "qsens-recipe"'
says out '"asked_bits": 6.0'
says out '"adjusted_bits": 8.436897435897436'
says out '"satisfied": true'
says out '"pair": "fp8_fp8"'
[ ! -s "$D/err" ]; ok $? "  nothing on stderr"
cp "$D/out" "$D/two"
run 0 "the same into a file" --bits 6 -o "$D/deep/recipe.json" "$F/fp4_fp8.json" "$F/scores.fp8_fp8.json"
cmp -s "$D/two" "$D/deep/recipe.json"; ok $? "  to the byte"
run 0 "another order of equal files" --bits=6 --name mix -v "$F/fp4_fp8.json" "$F/scores.fp8_fp8.json"
says out '"name": "mix"'
says err 'effective bits of 8.4369 allowed'
says err 'groups take fp8_fp8'
run 0 "one pair" "$F/fp4_fp8.json"
says out '"score": 0.01710894814641506'
run 0 "every group quantized" --bits 4 "$F/fp4_fp8.json"
says out '"groups": 25'
run 0 "a budget that the vision units take up" --bits 3.9 "$F/fp4_fp8.json"
says out '"satisfied": false'
says err 'no mix fits'
run 2 "bits below the menu" --bits 3 --exact-bits "$F/fp4_fp8.json"
says err 'reaches 6.92308 to 16'
run 2 "bits above 16" --bits 17 "$F/fp4_fp8.json"
run 2 "bits that are no number" --bits many "$F/fp4_fp8.json"
run 2 "no operand"
says err 'missing scores file or manifest'
run 2 "scores without units" "$F/scores.fp4_fp8.json"
says err 'give --lm lm.json'
run 2 "a pair twice" "$F/fp4_fp8.json" "$F/scores.fp4_fp8.json"
says err 'fp4_fp8 is on the menu already'
sed 's/"dtype": "bf16"/"dtype": "fp32"/' "$F/scores.fp8_fp8.json" >"$D/fp32.json"
run 2 "another dtype" "$F/fp4_fp8.json" "$D/fp32.json"
says err 'dtype is "bf16" there and "fp32" here'
sed 's/"padding": "reference"/"padding": "none"/' "$F/scores.fp8_fp8.json" >"$D/none.json"
run 2 "another padding" "$F/fp4_fp8.json" "$D/none.json"
says err 'padding is "reference" there and "none" here'
sed 's/"tokens_sha256": "0/"tokens_sha256": "1/' "$F/scores.fp8_fp8.json" >"$D/tokens.json"
run 2 "other tokens" "$F/fp4_fp8.json" "$D/tokens.json"
says err 'tokens_sha256 is'
sed 's/layers.5.mlp.down_proj/layers.7.mlp.down_proj/' "$F/scores.fp8_fp8.json" >"$D/groups.json"
run 2 "other groups" "$F/fp4_fp8.json" "$D/groups.json"
says err 'layers.7.mlp.down_proj where model.language_model.layers.5.mlp.down_proj is expected'
head -c 3000 "$F/fp4_fp8.json" >"$D/cut.json"
run 3 "a truncated manifest" "$D/cut.json"
says err 'cut.json.: not valid JSON at line'
echo '{"format": "qsens-lm"}' >"$D/lm.json"
run 3 "another document" "$D/lm.json"
run 1 "a missing file" "$D/none-such.json"
says err 'cannot open'
run 2 "a name that is not UTF-8" --name "$(printf '\377')" "$F/fp4_fp8.json"
says err 'not valid UTF-8'
run 0 "the help" --help
says out 'usage: recipe-search'
example=$(sed -n '/^example:/{n;s/^ *//p;}' "$D/out")
sh -c "\"$B\"/$example" >"$D/out" 2>"$D/err"; ok $? "the example of the help runs: $example"
cmp -s "$D/two" "$D/out"; ok $? "  with the result of the first run"
if [ -x "$B/extract-lm" ]; then
    "$B/extract-lm" -o "$D/units.json" models/tiny_qwen3_vl 2>"$D/err"; ok $? "extract-lm on the bundled model"
    run 0 "scores and units" --bits 6 --lm "$D/units.json" "$F/scores.fp4_fp8.json" "$F/scores.fp8_fp8.json"
    cmp -s "$D/two" "$D/out"; ok $? "  the same as with a manifest first"
    sed 's/"weights_sha256": "7/"weights_sha256": "8/' "$F/scores.fp4_fp8.json" >"$D/weights.json"
    run 2 "scores of other weights" --lm "$D/units.json" "$D/weights.json"
    says err 'weights_sha256 is'
fi
echo "1..$n"
