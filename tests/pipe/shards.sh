#!/bin/sh
# SHARDS: a sweep in parts gives the bytes of one that is not parted, and is stale when that is. And sweeps that are
# killed at random moments, parted or not, and make again: nothing shows that there was a kill.
# KILLS (tests/long/kills.sh sets more) is how many, SEED where the moments come from.
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
cd "$tree" && mk all >"$tmp/out" || exit 1
# blocks of one batch, each a pass
sweep() { mk "$@" sweep PAIRS='fp4_fp8 int8_int8' CALIB_NS='16 40' SET=autoquant.block=1 PASS_BLOCKS=1; }
run() { # run ARGS...
    sweep "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
}
# finished: as the first sweep, nothing on stderr, nothing half-written
finished() {
    [ $rc = 0 ] && [ ! -s "$tmp/err" ] && no_halves tmp/run && normal tmp/run >"$tmp/got" &&
        cmp "$tmp/uninterrupted" "$tmp/got" >"$tmp/err"
}
run
normal tmp/run >"$tmp/uninterrupted" && [ $rc = 0 ] && [ -s "$tmp/uninterrupted" ]
report $? 'a sweep'
for k in 1 2 3 7; do
    rm -rf tmp/run
    run -j2 SHARDS=$k
    finished && [ "$(stages | tr ' ' '\n' | grep -c SCORE)" = 2 ]
    report $? "SHARDS=$k: the same bytes"
    sweep -q && sweep -q SHARDS=5
    report $? '  and nothing to do'
done
rm tmp/run/*/*-n16/int8_int8/default/scores.json
sweep -q SHARDS=2
[ $? = 1 ]
report $? 'a cell deleted: -q says it is stale'
normal tmp/run >"$tmp/before"
sweep -n SHARDS=2 >"$tmp/out" 2>"$tmp/err" && [ "$(grep -c 'autoquant-score .*--shard [12]/2' "$tmp/out")" = 4 ] &&
    grep -q scores-merge "$tmp/out" && normal tmp/run | cmp "$tmp/before" - >"$tmp/err"
report $? '-n prints its parts and does nothing'
printf '#!/bin/sh\necho "$*" >>"%s"\nexec "$@"\n' "$tmp/launched" >"$tmp/launch" && chmod +x "$tmp/launch"
run SHARDS=2 LAUNCH="$tmp/launch"
finished && [ "$(grep -c 'autoquant-score .*--shard' "$tmp/launched")" = 4 ] && [ "$(wc -l <"$tmp/launched")" = 4 ]
report $? 'LAUNCH comes before each part'
printf '#!/bin/sh\ncase $* in *"--shard 2/3") exit 1 ;; esac\nexec "$@"\n' >"$tmp/no2" && chmod +x "$tmp/no2"
rm -r tmp/run/*/*-n40
run SHARDS=3 LAUNCH="$tmp/no2"
[ $rc = 2 ] && [ -z "$(find tmp/run/*/*-n40 -name scores.json)" ] && [ -n "$(find tmp/run/*/*-n40 -name '*.journal')" ]
report $? 'a part that fails: no scores'
run SHARDS=2
finished
report $? 'in another number of parts: done'
run SHARDS=2 GRANULARITIES=w_group64 PAIRS=int8_int8
cp -r tmp/run "$tmp/parted" && rm -r tmp/run/*/*/*/w_group64 && run GRANULARITIES=w_group64 PAIRS=int8_int8
normal tmp/run >"$tmp/got" && (cd "$tmp" && normal parted) | cmp - "$tmp/got" >"$tmp/err"
report $? 'another granularity'
for bad in SHARDS=0 SHARDS=x SHARDS= 'SHARDS=1;x' PASS_BLOCKS=many PASS_BLOCKS=; do
    mk sensitivity "$bad" >"$tmp/out" 2>"$tmp/err"
    [ $? = 2 ] && grep -q "${bad%%=*} must " "$tmp/err"
    report $? "refused: $bad"
done

# ---- killed at random moments of a sweep; a third of the runs that go on is killed too
t=$(date +%s%N)
rm -rf tmp/run
run
t=$((($(date +%s%N) - t) / 1000))
seed=${SEED:-1} kills=0 had=0
random() { seed=$(((seed * 1103515245 + 12345) % 2147483648)) && r=$((seed / 65536 % $1)); }
rm -rf tmp/run
while [ $kills -lt "${KILLS:-4}" ]; do
    random 3 && shards=$((r * r + 1)) && random $((t * shards / 1000 + 1))
    setsid sh -c "${QSENS_MAKE:-make MODE=${build##*/}} -j2 sweep PAIRS='fp4_fp8 int8_int8' CALIB_NS='16 40' \
        SET=autoquant.block=1 PASS_BLOCKS=1 SHARDS=$shards" >"$tmp/out" 2>&1 &
    pid=$!
    sleep "$(printf '%d.%03d' $((r / 1000)) $((r % 1000)))"
    kill -9 -$pid 2>/dev/null
    gone $pid
    [ $? = 137 ] || { rm -rf tmp/run && continue; } # it was over
    kills=$((kills + 1))
    left=$(find tmp/run -name '*.journal' -size +0 2>/dev/null | wc -l)
    had=$((had + (left > 0)))
    random 3
    [ $r != 0 ] || [ $kills = "${KILLS:-4}" ] || continue
    random 3 && run SHARDS=$((r + 1))
    finished
    report $? "killed after $((kills)): $left journals, then SHARDS=$((r + 1))"
    rm -rf tmp/run
done
echo "# $kills kills, $had of them with work in journals"
echo "1..$n"
