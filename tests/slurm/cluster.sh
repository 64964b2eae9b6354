#!/bin/sh
# A Slurm cluster of two nodes on this machine, as root, for tests: nothing outside DIR is written, and nobody else's
# Slurm or munge is touched. Usage:
#   cluster.sh start DIR        start it; then SLURM_CONF=DIR/slurm.conf. DIR must be open to all (x) from / on.
#                               Where it cannot start: a line that says why, exit code 1
#   cluster.sh crash DIR NODE   NODE (n1, n2) dies with all that runs on it
#   cluster.sh node DIR NODE    and comes back
#   cluster.sh stop DIR         stop it, whatever state it is in
set -u
[ -z "${SLURM_CONF-}" ] || exec env -u SLURM_CONF "$0" "$@" # else it would be one of its own processes below
command=$1 dir=$2
PATH=$PATH:/usr/sbin:/sbin
ours=SLURM_CONF=$dir/slurm.conf
# processes VARIABLE=VALUE: those of this cluster, daemons and jobs, that were started with it
processes() {
    grep -lzxF "$ours" /proc/[0-9]*/environ 2>/dev/null | xargs -r grep -lzxF "$1" 2>/dev/null |
        sed 's|^/proc/||; s|/.*||'
}
# shellcheck disable=SC2046 # lists of numbers
stop() {
    [ ! -e "$dir/slurm.conf" ] || timeout 10 env "$ours" scancel -Q --state=running,pending 2>/dev/null
    kill $(processes "$ours") 2>/dev/null
    i=0
    while [ $i -lt 20 ] && [ -n "$(processes "$ours")" ]; do sleep 0.2 && i=$((i + 1)); done
    kill -9 $(processes "$ours") 2>/dev/null
}
# refuse WHY...: it does not start
refuse() {
    stop
    echo "$*"
    exit 1
}

start() {
    [ "$(id -u)" = 0 ] || refuse 'Slurm is started by root'
    for p in munged slurmctld slurmd srun sbatch; do
        command -v $p >/dev/null || refuse "there is no $p: apt-get install slurm-wlm munge"
    done
    mkdir -p "$dir/state" "$dir/spool" "$dir/log" "$dir/run" && chmod 755 "$dir" "$dir/run" || exit 1
    (umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
    port=$((20000 + $$ % 2000 * 4))
    cat >"$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge,cred_expire=5
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/%n.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/%n
SlurmctldPort=$port
ReturnToService=2
SlurmdTimeout=5
MessageTimeout=4
KillWait=2
SchedulerParameters=sched_interval=1,bf_interval=1
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
NodeName=n1 NodeAddr=localhost NodeHostname=localhost Port=$((port + 1)) CPUs=1 RealMemory=500
NodeName=n2 NodeAddr=localhost NodeHostname=localhost Port=$((port + 2)) CPUs=1 RealMemory=500
PartitionName=main Nodes=n1,n2 Default=YES
END
    env "$ours" munged --socket="$dir/run/munge" --key-file="$dir/munge.key" --pid-file="$dir/run/munged.pid" \
        --log-file="$dir/log/munged" --seed-file="$dir/run/seed" 2>"$dir/log/start" ||
        refuse "munged does not start: $(tail -n 1 "$dir/log/start")"
    env "$ours" slurmctld -D >"$dir/log/slurmctld.out" 2>&1 &
    node n1
    node n2
    ready
}
node() { env "$ours" "CLUSTER_NODE=$dir/$1" slurmd -D -N "$1" >"$dir/log/$1.out" 2>&1 & }
ready() {
    i=0
    until [ "$(env "$ours" sinfo -h -o '%D %t' 2>/dev/null)" = '2 idle' ]; do
        [ $i -lt 100 ] || refuse "Slurm does not start: $(cat "$dir"/log/*.out | grep -v pmix | tail -n 1)"
        sleep 0.2 && i=$((i + 1))
    done
}

# shellcheck disable=SC2046 # a list of numbers
case $command in
    start) start ;;
    node) node "$3" && ready ;;
    crash) kill -9 $(processes "CLUSTER_NODE=$dir/$3") $(processes "SLURMD_NODENAME=$3") ;;
    stop) stop ;;
esac
