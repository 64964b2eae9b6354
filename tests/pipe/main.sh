#!/bin/sh
# The targets a user starts with: deps, sensitivity, recipe, report, where, help; and from a fresh clone.
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
cd "$tree" || exit 1

# ---- what is missing is said in a line, and deps comes first: a compiler without headers until apt-get has run
mkdir "$tmp/bin"
fake() { # NAME: a program of that name, from standard input
    { echo '#!/bin/sh' && cat; } >"$tmp/bin/$1" && chmod +x "$tmp/bin/$1"
}
for cc in cc gcc clang; do
    real=$(command -v $cc) || continue
    fake $cc <<EOF
[ -e "$tmp/installed" ] || case "\$*" in *tests/libraries.c*)
    cat "$tmp/complaint" >&2
    exit 1 ;;
esac
exec "$real" "\$@"
EOF
done
fake dpkg-query <<EOF
[ ! -e "$tmp/installed" ] || printf 'ii '
EOF
fake apt-get <<EOF
echo "apt-get \$*" >>"$tmp/apt"
sleep 0.3
case \$1 in install) : >"$tmp/installed" ;; esac
EOF
fake sudo <<EOF
exec "\$@"
EOF
PATH=$tmp/bin:$PATH

# missing LINE COMPLAINT: what make says where the compiler says COMPLAINT
missing() {
    rm -f "$build/libraries.ok"
    printf '%b' "$2" >"$tmp/complaint"
    mk all >"$tmp/out" 2>"$tmp/err"
    [ $? = 2 ] && [ "$(head -n 1 "$tmp/err")" = "$1" ] && [ "$(grep -cv '^make: \*\*\*' "$tmp/err")" = 1 ]
    report $? "$1"
}
# shellcheck disable=SC2016
run_deps='run `make deps`'
missing "missing header cblas.h: $run_deps" \
    'tests/libraries.c:2:10: fatal error: cblas.h: No such file or directory\ncompilation terminated.\n'
missing "missing header yaml.h: $run_deps" "tests/libraries.c:7:10: fatal error: 'yaml.h' file not found\n"
missing "missing library jansson: $run_deps" \
    '/usr/bin/ld: cannot find -ljansson: No such file or directory\ncollect2: error: ld returned 1 exit status\n'
printf 'cc1: error: bad value for -march= switch\n' >"$tmp/complaint"
mk all 2>&1 | head -n 1 | grep -q 'bad value for -march'
report $? 'other errors of the compiler are shown'

mk -j2 deps sensitivity CALIB_N=8 PAIR=fp4_fp8 >"$tmp/out" 2>"$tmp/err"
rc=$?
[ $rc = 0 ] && [ ! -s "$tmp/err" ] && head -n 1 "$tmp/out" | grep -q '^deps: installing gcc .* libutf8proc-dev$' &&
    [ "$(sed -n 2p "$tmp/out")" = 'deps: done' ] && [ "$(stages)" = 'EXTRACT PACK SCORE MANIFEST REPORT REPORT' ]
report $? 'make -j2 deps sensitivity: deps first, then all the rest'
grep -q '^apt-get install -y -qq --no-install-recommends gcc .*libopenblas-dev' "$tmp/apt"
report $? 'deps installs the packages of conf/packages.txt'
mk -j2 deps sensitivity CALIB_N=8 >"$tmp/out" 2>"$tmp/err" &&
    [ "$(cat "$tmp/out")" = "deps: everything is installed
  RESULT    $(mk where CALIB_N=8)" ]
report $? 'again: nothing to do'
PATH=${PATH#*:}

# ---- artifacts
dir=$(mk where CALIB_N=8 PAIR=fp4_fp8)
[ "$dir" = tmp/run/tiny_qwen3_vl/sample_captions-n8/fp4_fp8/default ]
report $? 'make where prints a directory'
for f in scores.json records.safetensors wfp4_afp8_autoquant_lm_quant_manifest.json per-layer-sensitivity.md \
    per-layer-sensitivity.json composed-config.yaml; do
    [ -s "$dir/$f" ]
    report $? "it holds $f"
done
for f in "$dir"/*.json; do jq -e . "$f" >/dev/null || exit 1; done
report $? 'what is named .json is JSON'

cp -a "$dir" "$tmp/before" && rm "$dir"/per-layer-sensitivity.* &&
    echo 'One more.' >>conf/dataset/sample_captions.txt &&
    sed -i '1s/^/Look: /' conf/dataset/sample_captions.txt && mk report >"$tmp/out" 2>"$tmp/err" &&
    [ "$(cat "$tmp/out")" = "$dir/per-layer-sensitivity.md" ] && diff -r "$tmp/before" "$dir" >"$tmp/err"
report $? 'make report writes the same reports and scores nothing, also where captions have changed'
cp -a "$top/conf" . && rm -rf tmp/run
mk report >"$tmp/out" 2>"$tmp/err"
[ $? = 2 ] && head -n 1 "$tmp/err" | grep -q 'no manifest under tmp/run yet'
report $? 'make report where there is none'

mk recipe CALIB_N=8 MENU='fp4_fp8 fp8_fp8' BITS=6 >"$tmp/out" 2>"$tmp/err" &&
    [ "$(stages)" = 'EXTRACT PACK SCORE SEARCH' ] && recipe=$(sed -n 's/^  RESULT    //p' "$tmp/out") &&
    jq -e '.effective_bits <= .adjusted_bits and (.menu | length) == 3' "$recipe" >"$tmp/err"
report $? 'make recipe'

# ---- help
mk help >"$tmp/out" 2>"$tmp/err"
report $? 'make help'
for target in $(sed -n 's/^\.PHONY: //p' Makefile pipeline.mk | sed 's/FORCE//'); do
    grep -qw -- "$target" "$tmp/out"
    report $? "it names the target $target"
done
for variable in $(sed -n 's/^\([A-Z_]*\) *?=.*/\1/p' Makefile pipeline.mk) CC WERROR V JOBS SECONDS LAUNCH; do
    grep -q "\\<$variable=" "$tmp/out"
    report $? "it names the variable $variable"
done
mk clean all >"$tmp/out" 2>"$tmp/err"
[ $? = 2 ] && grep -q 'clean goes alone' "$tmp/err" && [ -d tmp ]
report $? 'make clean all is refused'
mk clean >"$tmp/out" 2>"$tmp/err" && [ ! -e tmp ]
report $? 'make clean'

# ---- a fresh clone, built anew
if [ "${CI:-}" != true ] && [ -z "${QSENS_LONG:-}" ]; then
    n=$((n + 1)) && echo "ok $n - from a fresh clone # SKIP takes a minute; QSENS_LONG=1 or CI=true runs it"
elif [ ! -e "$top/.git" ]; then
    n=$((n + 1)) && echo "ok $n - from a fresh clone # SKIP this is no clone itself"
else
    git clone -q --no-hardlinks "$top" "$tmp/clone" >"$tmp/out" 2>"$tmp/err"
    tree=$tmp/clone
    mk -j2 deps sensitivity PAIR=fp4_fp8 >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/err" ] &&
        [ -s "$tree/$(mk where)/per-layer-sensitivity.md" ] && mk -q sensitivity
    report $? 'from a fresh clone'
    [ -z "$(git -C "$tree" status --porcelain)" ]
    report $? 'git has nothing to say about it'
    mk -n -B all >"$tmp/out" 2>"$tmp/err"
    report $? 'make -n there'
fi
echo "1..$n"
