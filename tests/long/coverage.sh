#!/bin/sh
# Coverage of the intervals over the captions of QSENS_DATA, on the bundled model, for the pairs of QSENS_PAIRS.
. tests/cli/scratch
captions=${QSENS_DATA:-../shared/data}/captions.txt
if [ ! -e "$captions" ]; then echo "1..0 # SKIP $captions is not here: set QSENS_DATA"; exit 0; fi
set --
for p in ${QSENS_PAIRS:?}; do set -- "$@" --cell "conf/quant_pair/$p.yaml=$D/$p"; done
"$B/extract-lm" -o "$D/lm.json" models/tiny_qwen3_vl &&
    "$B/calib-pack" -m models/tiny_qwen3_vl -n 1024 -o "$D/calib.safetensors" "$captions" &&
    "$B/autoquant-score" --lm "$D/lm.json" --calib "$D/calib.safetensors" --score-size 1024 "$@" || exit 1
set --
for p in $QSENS_PAIRS; do set -- "$@" "$D/$p"; done
"$B/t/long/coverage" "$D/calib.safetensors" "$@"
