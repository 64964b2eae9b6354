#!/bin/sh
# report-index: rows, comparisons, order, links, refusals.
. tests/cli/scratch
F=tests/fixtures/manifest
P=../shared/data/published
tool=report-index

"$B/extract-lm" -o "$D/lm.json" models/tiny_qwen3_vl 2>"$D/err"; ok $? "extract-lm"
for p in fp4_fp8 fp8_fp8; do
    mkdir -p "$D/run/$p/default"
    "$B/manifest" --lm "$D/lm.json" --model-id models/tiny_qwen3_vl --dataset-name captions \
        -o "$D/run/$p/default/w${p%_*}_a${p#*_}_autoquant_lm_quant_manifest.json" "$F/scores.$p.json" 2>"$D/err"
    ok $? "manifest of $p"
done
run 0 "one run" "$D/run/fp4_fp8/default"
says out '^1 run\.'
says out '^|tiny_qwen3_vl|captions|128|default|fp4_fp8|bf16, reference, cpu|9.8877e-02|9.8974|1.7109e-02|1.50|$'
grep -q '^### ' "$D/out"; [ $? = 1 ]; ok $? "  nothing to compare it with"
run 0 "two" -o "$D/run/index.md" --json "$D/a.json" "$D/run/fp4_fp8/default/" "$D/run/fp8_fp8/default"
cp "$D/run/index.md" "$D/out"
says out '|\[fp8_fp8\](<fp8_fp8/default/per-layer-sensitivity.md>)|'
says out '^|layers.0.self_attn.q_proj|3.17e-02 (32.0 %)|'
says out '^15 more groups (vision)'
jq -r '.comparisons[0] | .cells | join(" ")' "$D/a.json" >"$D/out"
says out '^fp4_fp8 fp8_fp8$'
run 0 "in another order" -o "$D/run/other.md" --json "$D/b.json" "$D"/run/fp8_fp8/default/*.json "$D/run/fp4_fp8/default"
cmp -s "$D/a.json" "$D/b.json" && cmp -s "$D/run/index.md" "$D/run/other.md"; ok $? "  the same bytes"
[ "$(jq '[.comparisons[0].groups[].max_share] | . == (sort | reverse)' "$D/a.json")" = true ]
ok $? "groups by falling share"
# ranks of the JSON index are those of the reports
"$B/report-json" "$D"/run/fp8_fp8/default/*.json | jq -S '[.qsens.groups[] | {name, rank}] | sort_by(.name)' >"$D/want"
jq -S '[.comparisons[0].groups[] | {name, rank: .ranks[1]}] | sort_by(.name)' "$D/a.json" >"$D/got"
cmp -s "$D/want" "$D/got"; ok $? "ranks are those of the reports"
# Spearman without ties: 1 - 6 sum d^2 / (n (n^2 - 1))
[ "$(jq '.comparisons[0] | (.groups | length) as $n | ([.groups[].ranks | (.[0] - .[1]) | . * .] | add) as $d |
    (.spearman[0][1] - (1 - 6 * $d / ($n * ($n * $n - 1)))) | . * . < 1e-24' "$D/a.json")" = true ]
ok $? "Spearman's correlation follows from the ranks"
[ "$(jq '.comparisons[0].disagreement | map(.spread == .lowest.rank - .highest.rank) | all' "$D/a.json")" = true ]
ok $? "disagreements are differences of ranks"
sed 's/"dtype": "bf16"/"dtype": "fp32"/' "$D"/run/fp8_fp8/default/*.json >"$D/fp32.json"
run 0 "another arithmetic" --json "$D/c.json" "$D/run/fp4_fp8/default" "$D/fp32.json"
[ "$(jq '(.cells | length) == 2 and (.comparisons | length) == 0' "$D/c.json")" = true ]; ok $? "  is not compared"
run 2 "the same cell twice" "$D/run/fp4_fp8/default" "$D"/run/fp4_fp8/default/*.json
says err 'are the same cell (fp4_fp8): leave one out'
run 2 "a directory without a manifest" "$D"
says err 'it is not a finished run'
run 1 "a missing file" "$D/none-such"
run 3 "no manifest" "$D/lm.json"
run 2 "no operand"
run 1 "an output that cannot be written" -o "$D/lm.json/index.md" "$D/run/fp4_fp8/default"
run 0 "the help" --help
example=$(sed -n '/^example:/{n;s/^ *//p;}' "$D/out")
sh -c "\"$B\"/$example" >"$D/out" 2>"$D/err"; ok $? "the example of the help runs: $example"
if [ -d "$P" ]; then
    run 0 "published manifests" "$P"/*/*_quant_manifest.json
    says out '^8 runs\.'
    says out '^|Qwen3-VL-4B-Instruct|||default|fp8_fp8|reference stack|3.9844e+00|8.7443|3.9844e+00||$'
else
    n=$((n + 1)); echo "ok $n - published manifests # SKIP $P is not here"
fi
echo "1..$n"
