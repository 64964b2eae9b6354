#!/bin/sh
# plan-run: what it prints of cells, and what it refuses. Held against make: tests/pipe/incremental.sh, status.sh.
. tests/cli/scratch
tool=plan-run
data=$D/run/model/captions-n8
cell=$data/fp8_fp8/default
"$B/compose-config" --pair fp8_fp8 --calib-n 8 -o "$cell/config" && cp "$cell/config/args/extract-lm" "$D/run/model/extract-lm.args" &&
    cp "$cell/config/args/calib-pack" "$data/calib-pack.args" && "$B/device-speed" --json -j 1 cpu >"$D/speed.json" || exit 1
run 0 "a cell that was never scored" "$cell"
says out '^  to extract: lm.json is not there$'
says out '^  to pack: calib.safetensors is not there$'
says out '^  fp8_fp8/default  to run: never scored$'
says out '^1 cell: 1 to run$'
run 0 "what it costs" --device "$D/speed.json" "$cell"
says out '^  default: 1 cell in one process, one pass over [0-9]* rows, 1 replay, [0-9.]* TFLOP: about [0-9.]* s, memory [0-9.]* MB'
says out '^scoring, about, in 1 process on '
"$B/extract-lm" "@$D/run/model/extract-lm.args" -o "$D/run/model/lm.json" &&
    "$B/calib-pack" "@$data/calib-pack.args" -o "$data/calib.safetensors" || exit 1
run 0 "as JSON, with the inputs there" --json --device "$D/speed.json" "$cell"
jq -e '.format == "qsens-plan" and .version == 1 and (.models + .data | all(.make | not)) and .backend == "cpu" and
    (.cells[0] | .state == "to-run" and .stages == ["score", "manifest", "report-json", "report-md"]) and
    (.groups[0] | .cells == 1 and .unsure_cells == 0 and (.guessed | not) and .replays == 1 and .gpu_bytes == 0) and
    .total.seconds == .groups[0].seconds and .total.seconds > 0' "$D/out" >"$D/err"
ok $? "  its keys"
rows=$("$B/plan-run" --json --device "$D/speed.json" "$cell" | jq '.groups[0].rows')
"$B/autoquant-score" --backend cpu -v --lm "$D/run/model/lm.json" --calib "$data/calib.safetensors" \
    --cell "$cell/config/pair.yaml=$cell" --log "$cell/log" 2>"$D/out"
says out "$rows rows calibrated"
says out 'backend cpu, .* threads'
cp "$cell/log" "$D/out"
says out '^20[0-9TZ:-]* autoquant-score: backend cpu, '
printf '2026-01-01T00:00:00Z start 1 elsewhere\n' >"$cell/log"
run 0 "a process of another machine" --status "$cell"
says out 'running: since 2026-01-01T00:00:00Z, process 1 of elsewhere (not asked)$'
printf '2026-01-01T00:00:00Z start 1 elsewhere\n2026-01-01T00:00:01Z error: x: first\n2026-01-01T00:00:02Z error: y: second\n' >"$cell/log"
run 0 "a failure" --status "$cell"
says out 'fp8_fp8/default  failed: x: first$'
run 0 "failures alone" --failed "$cell"
[ "$(cat "$D/out")" = "  FAILED    $cell: x: first" ]
ok $? "  in one line"
printf '2026-01-01T00:00:00Z start 1 elsewhere\n2026-01-01T00:00:01Z error: x: first\n2026-01-01T00:00:02Z start 999999999 %s\n' \
    "$(uname -n)" >"$cell/log"
run 0 "started again since, and killed" --status "$cell"
says out 'the last attempt ended without a word$'
run 0 "in parts" --device "$D/speed.json" --shards 3 --pass-blocks 1 "$cell"
says out '1 cell in 3 parts, one pass over '
says out ' in 3 processes on '
run 2 "no cell" run/x
says err "^plan-run: 'run/x' is no cell: RUN/MODEL/DATA/PAIR/GRANULARITY$"
run 1 "no speeds" --device "$D/none.json" "$cell"
says err "none.json"
jq '.gemm_flops = 0' "$D/speed.json" >"$D/zero.json"
run 3 "speeds of nothing" --device "$D/zero.json" "$cell"
says err 'zero.json: speeds must be above 0$'
jq '.format = "x"' "$D/speed.json" >"$D/other.json"
run 3 "another format" --device "$D/other.json" "$cell"
says err "format 'x' is not qsens-device$"
run 1 "a log that cannot be opened" --log "$D/none/log" "$cell"
says err "^plan-run: cannot open log '.*/none/log': No such file or directory$"
echo "1..$n"
