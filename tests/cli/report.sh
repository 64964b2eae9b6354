#!/bin/sh
# report-md and report-json: files, refusals and their exit codes, on the sample manifest.
. tests/cli/scratch
M=tests/fixtures/manifest/fp4_fp8.json
run() { # run CODE NAME TOOL ARGS...
    want=$1 name=$2 tool=$3
    shift 3
    "$B/$tool" "$@" >"$D/out" 2>"$D/err"
    [ $? = "$want" ]; ok $? "$tool: $name exits $want"
}

printf 'autoquant:\n  effective_bits: 8\n' >"$D/composed-config.yaml"
sed 's/"rank": 40/"rank": 39/' "$M" >"$D/lie.json"
for t in report-md report-json; do
    run 0 "the sample" $t "$M"
    cp "$D/out" "$D/$t.want"
    run 0 "into a new directory" $t -o "$D/deep/$t" "$M"
    cmp -s "$D/deep/$t" "$D/$t.want"; ok $? "  the same bytes"
    "$B/$t" - <"$M" >"$D/out" 2>"$D/err"; ok $? "$t: from standard input"
    cmp -s "$D/out" "$D/$t.want"; ok $? "  the same bytes"
    run 3 "a manifest that contradicts itself" $t -o "$D/none" "$D/lie.json"
    says err 'rank is 39, by its importance it is 40'
    [ ! -e "$D/none" ]; ok $? "  and no file is left"
    run 3 "an empty file" $t /dev/null
    run 1 "a missing file" $t "$D/none-such.json"
    run 2 "no operand" $t
    run 2 "two operands" $t "$M" "$M"
    run 0 "the help" $t --help
    says out "usage: $t"
    example=$(sed -n '/^example:/{n;s/^ *//p;}' "$D/out")
    sh -c "\"$B\"/$example" >"$D/out" 2>"$D/err"; ok $? "the example of the help runs: $example"
    if [ -c /dev/full ]; then
        "$B/$t" "$M" >/dev/full 2>"$D/err"; [ $? = 1 ]; ok $? "$t: a full disk exits 1"
    fi
done
run 0 "with the configuration" report-md --composed "$D/composed-config.yaml" "$M"
says out '^```yaml'
says out '^  effective_bits: 8'
run 1 "without the configuration it was promised" report-md --composed "$D/none-such.yaml" "$M"
printf 'a\0b' >"$D/zero.yaml"
run 3 "a configuration with a zero byte" report-md --composed "$D/zero.yaml" "$M"
says err 'zero byte'
echo "1..$n"
