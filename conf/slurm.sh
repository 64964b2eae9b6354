#!/bin/sh
# What slurm.mk needs of Slurm. Usage: sh conf/slurm.sh COMMAND, in the directory of the Makefile:
#   submit MAKE N all|stale [OPTION...]   submit the jobs of a sweep of N groups; options are those of sbatch
#   busy                                  say why no other make may run here, if so
#   missing ANYTHING...                   fail in place of a command that scores
set -u
dir=tmp/run/.slurm
die() {
    echo "slurm-sweep: $*" >&2
    exit 1
}

busy() {
    jobs=$(cat $dir/jobs)
    if ! queue=$(squeue -h -o %F -j "$jobs" 2>&1); then
        echo "squeue does not say whether jobs $jobs are over; if they are, remove $dir/jobs: $queue"
    elif [ -n "$queue" ]; then
        echo "Slurm jobs $jobs of this tree are queued or running: wait for them, or \`scancel ${jobs%,*} ${jobs#*,}\`"
    else
        rm $dir/jobs
    fi
}

# job NAME GOAL OPTION...: a job that makes GOAL; prints its number
job() {
    name=$1 goal=$2
    shift 2
    id=$(sbatch --parsable --export=ALL --requeue --open-mode=append --job-name="$name" "$@" \
        --wrap "exec $make $goal") && [ -n "$id" ] && echo "${id%%;*}"
}

submit() {
    make=$1 groups=$2 which=$3
    shift 3
    command -v sbatch >/dev/null || die 'there is no sbatch: this is not a machine that submits jobs to Slurm'
    # variables pass from make to make, and through a job's environment, in MAKEFLAGS; flags and a jobserver do not
    case ${MAKEFLAGS-} in *'-- '*) MAKEFLAGS="-- ${MAKEFLAGS#*-- }" ;; *) MAKEFLAGS= ;; esac
    export MAKEFLAGS
    unset MAKELEVEL MFLAGS
    tasks='' i=0 n=0
    while [ "$i" -lt "$groups" ]; do
        i=$((i + 1)) rc=1
        [ "$which" = all ] || { $make -q slurm-group SLURM_ARRAY_TASK_ID=$i && rc=0 || rc=$?; }
        case $rc in
            0) ;;
            1) tasks=$tasks,$i n=$((n + 1)) ;;
            *) exit $rc ;;
        esac
    done
    [ $n != 0 ] || exec $make slurm-reports # which is a matter of milliseconds
    mkdir -p $dir
    score=$(job qsens-score slurm-group --output="$dir/%A_%a.log" "$@" --array="${tasks#,}") || exit
    # afterany: what could be scored is reported, whatever failed
    reports=$(job qsens-reports '-k slurm-reports' --output="$dir/%j.log" "$@" --dependency="afterany:$score") || {
        scancel "$score"
        exit 1
    }
    echo "$score,$reports" >$dir/jobs
    printf '  %-9s %s\n' SUBMIT "job $score: $n of $groups groups to score" \
        SUBMIT "job $reports, after it: manifests, reports, index"
    echo "squeue -j $score,$reports shows them, scancel $score $reports stops them; their logs are in $dir"
}

case ${1-} in
    submit) shift && submit "$@" ;;
    busy) busy ;;
    missing) die "not scored: its job has failed (logs in $dir); \`make slurm-sweep\` submits it again" ;;
    *) die 'submit, busy or missing' ;;
esac
