#!/bin/sh
# make slurm-sweep on a real Slurm of two nodes: the files of `make sweep` byte for byte, also where a node dies under a
# job; jobs that fail; LAUNCH=srun. Run by `make check-slurm`.
# shellcheck disable=SC2154,SC2034 # of scratch
. tests/pipe/scratch
chmod 711 "$tmp"
cluster=$top/tests/slurm/cluster.sh
trap '"$cluster" stop "$tmp/cluster"; rm -rf "$tmp"' EXIT
if ! why=$("$cluster" start "$tmp/cluster"); then
    case " ${REQUIRE-} " in *' slurm '*) echo "Bail out! $why" && exit 1 ;; esac
    echo "1..0 # SKIP $why"
    exit 0
fi
export SLURM_CONF="$tmp/cluster/slurm.conf"
pairs='fp4_fp8 int8_int8 fp8_fp16'
set_tree() { tree=$tmp/$1 && scratch_tree "$tree" && cd "$tree" || exit 1; }
sweep() { # GOAL ARGS...
    goal=$1
    shift
    mk "$goal" PAIRS="$pairs" CALIB_NS='8 16' "$@" >"$tmp/out" 2>"$tmp/err"
}
# submitted WHAT: the last make says that it has submitted this, and the job after it
submitted() {
    printf '  %-9s %s\n' SUBMIT "$1" SUBMIT 'job N, after it: manifests, reports, index' >"$tmp/want"
    grep '^  SUBMIT' "$tmp/out" | sed 's/job [0-9]*/job N/' | diff "$tmp/want" - >>"$tmp/err"
}
queue() { squeue -h "$@"; }
# until_true SECONDS COMMAND
until_true() {
    left=$(($1 * 5))
    until eval "$2"; do
        [ $left -gt 0 ] || return 1
        sleep 0.2 && left=$((left - 1))
    done
}
over() { until_true 90 '[ -z "$(queue)" ]' || { squeue >"$tmp/err" && return 1; }; }
logs() { cat tmp/run/.slurm/*.log; }
new_logs() { rm -f tmp/run/.slurm/*.log; }

set_tree here
sweep sweep -j2
report $? 'a sweep on this machine'
normal tmp/run/tiny_qwen3_vl >"$tmp/want_files"
as_here() { normal tmp/run/tiny_qwen3_vl | cmp "$tmp/want_files" - >"$tmp/err"; }

# ---- submitted, edited under, a node dies, requeued
# the first time, what scores 16 captions never returns, though it has written everything
cat >"$tmp/launch" <<'END'
#!/bin/sh
dir=${0%/*}
case $* in
    *n16*)
        "$@" || exit
        echo "$SLURMD_NODENAME" >>"$dir/nodes"
        [ "$(wc -l <"$dir/nodes")" -gt 1 ] || sleep 300
        ;;
    *) exec "$@" ;;
esac
END
chmod +x "$tmp/launch"
set_tree slurm
sweep slurm-sweep -j2 LAUNCH="$tmp/launch" SLURM='--hold --comment="two words"'
[ $? = 0 ] && submitted 'job N: 2 of 2 groups to score' &&
    [ "$(queue -o '%j %k' | sort | uniq -c | xargs)" = '1 qsens-reports two words 1 qsens-score two words' ]
report $? 'make -j2 slurm-sweep: two jobs in the queue'
[ -z "$(find tmp/run -name scores.json)" ] && [ "$(find tmp/run -name calib.safetensors | wc -l)" = 2 ]
report $? 'captions are packed, nothing is scored'
for goal in sweep sensitivity slurm-sweep; do
    sweep $goal SET=autoquant.dtype=fp32
    [ $? = 2 ] && head -n 1 "$tmp/err" | grep -q "Slurm jobs [0-9]*,[0-9]* of this tree are queued or running"
    report $? "make $goal is refused meanwhile"
done
sweep status && [ ! -s "$tmp/err" ] && tail -n 1 "$tmp/out" | grep -q '^6 cells: 6 to run, index to write$'
report $? 'make status is not'
cp -a conf "$tmp/conf"
sed -i 's/format: fp8/format: int8/' conf/quant_pair/fp8_fp16.yaml
sed -i 's/^/Look: /' conf/dataset/sample_captions.txt
for id in $(queue -o %A | sort -u); do scontrol release "$id"; done
until_true 60 '[ -s "$tmp/nodes" ]'
report $? 'the first attempt at 16 captions has scored, and hangs'
until_true 30 '[ -e tmp/run/tiny_qwen3_vl/sample_captions-n8/int8_int8/default/scores.key ]'
report $? '8 captions beside it'
sweep status && grep -q '^6 cells: 3 manifest and reports only, 3 running' "$tmp/out"
report $? '  and make status'
"$cluster" crash "$tmp/cluster" "$(cat "$tmp/nodes")" && over
report $? 'its node dies; all jobs end'
[ "$(wc -l <"$tmp/nodes")" = 2 ] && [ "$(sort -u "$tmp/nodes" | wc -l)" = 2 ]
report $? "the job went on on the other node: $(xargs <"$tmp/nodes")"
logs | grep '^  SCORE' | sort | uniq -c | sed 's/ *\([0-9]\).*-n\([0-9]*\) default/\1 x \2/' >"$tmp/got"
printf '%s\n' '2 x 16 (3 pairs)' '1 x 8 (3 pairs)' | diff - "$tmp/got" >"$tmp/err"
report $? 'who had finished did not score again'
as_here && no_halves tmp/run
report $? 'all files are those of the sweep on this machine'
rm -rf conf && mv "$tmp/conf" conf
sweep sweep && [ "$(cat "$tmp/out")" = '  RESULT    tmp/run/tiny_qwen3_vl/sensitivity-index.md' ] && as_here
report $? 'which has nothing left to do here'
# the dead node comes back
"$cluster" node "$tmp/cluster" "$(head -n 1 "$tmp/nodes")"
report $? 'the node comes back'

# ---- what is stale, and nothing else
new_logs
bigger() { sweep slurm-sweep PAIRS="$pairs fp8_fp8" CALIB_NS='8 16 24'; }
bigger && submitted 'job N: 3 of 3 groups to score' && over &&
    [ "$(logs | sed -n 's/^  SCORE .*(\(.*\))/\1/p' | sort | uniq -c | xargs)" = '2 1 pair 1 4 pairs' ]
report $? 'a pair and a size more: what is missing is scored'
rm -r tmp/run/tiny_qwen3_vl/sample_captions-n16/fp8_fp8
new_logs
bigger && submitted 'job N: 1 of 3 groups to score' && over &&
    [ "$(logs | grep -c '^  SCORE')" = 1 ]
report $? 'a cell deleted: one group is submitted'
sweep slurm-sweep && [ "$(stages) $(sed 's/ *\([A-Z]*\).*/\1/' "$tmp/out" | xargs)" = ' INDEX RESULT' ] &&
    [ "$(jq '.cells | length' tmp/run/tiny_qwen3_vl/sensitivity-index.json)" = 6 ] && [ -z "$(queue)" ]
report $? 'nothing to score: the index is made at once'

# ---- failures
rm -r tmp/run/tiny_qwen3_vl/*/int8_int8
new_logs
printf '#!/bin/sh\ncase $* in *n16*) exit 1 ;; esac\nexec "$@"\n' >"$tmp/no16" && chmod +x "$tmp/no16"
sweep slurm-sweep LAUNCH="$tmp/no16" && submitted 'job N: 2 of 2 groups to score' && over
logs | grep -q '^slurm-sweep: not scored: its job has failed' &&
    [ "$(find tmp/run -path '*int8_int8*' -name per-layer-sensitivity.md)" = \
        tmp/run/tiny_qwen3_vl/sample_captions-n8/int8_int8/default/per-layer-sensitivity.md ] &&
    [ "$(scontrol show job | grep -c 'JobState=FAILED')" = 2 ]
report $? 'a job fails: what the other scored is reported, and the last job fails too'
logs | grep -q '^  FAILED .*-n16/int8_int8/default: exit code 1$' && sweep status &&
    grep -q 'int8_int8/default  failed: exit code 1$' "$tmp/out" &&
    tail -n 1 "$tmp/out" | grep -q '^6 cells: 5 up to date, 1 failed, index to write$'
report $? '  its log and make status name the cell'
sweep slurm-sweep && submitted 'job N: 1 of 2 groups to score' && over && no_halves tmp/run &&
    [ "$(find tmp/run -path '*int8_int8*' -name per-layer-sensitivity.md | wc -l)" = 2 ]
report $? 'submitted again, it goes on'
sweep slurm-sweep SLURM=--partition=none
[ $? = 0 ]
report $? 'options of sbatch do not matter where there is nothing to submit'
rm -r tmp/run/tiny_qwen3_vl/*/int8_int8
sweep slurm-sweep SLURM=--partition=none
[ $? = 2 ] && grep -q '^sbatch: error: invalid partition' "$tmp/err" && [ ! -e tmp/run/.slurm/jobs ] &&
    [ -z "$(queue)" ]
report $? 'options that sbatch refuses'

# ---- names that are hard to quote, LAUNCH=srun in a job and without one
# shellcheck disable=SC2016
cp -a "$top/models/tiny_qwen3_vl" "$tmp/a \$(model) it's"
set_tree hard
# shellcheck disable=SC2016
MODEL="$tmp/a \$(model) it's" SET='autoquant.dtype=fp32' mk slurm-sweep PAIRS=int8_fp16 CALIB_NS=8 \
    DATASET="$tree/conf/dataset/sample_captions.txt" LAUNCH='srun -n1' >"$tmp/out" 2>"$tmp/err" && over &&
    [ "$(jq -r .cells[].pair tmp/run/*/sensitivity-index.json)" = int8_fp16 ]
report $? 'hard names, of the command line and the environment; LAUNCH=srun in a job'
set_tree srun
sweep sweep LAUNCH='srun -n1 --job-name=launched' && as_here
report $? 'make sweep LAUNCH=srun: the same files'
echo "1..$n"
