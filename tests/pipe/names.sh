#!/bin/sh
# What a user may type: odd names work, wrong ones are refused in one sentence, and nothing half-written stays.
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
cd "$tree" || exit 1
captions=$top/conf/dataset/sample_captions.txt

# run ARGS...: the pipeline on 8 captions
run() {
    mk sensitivity CALIB_N=8 "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
}
# good NAME ARGS...: runs, says nothing on stderr, prints a directory that holds the reports, and is not run again
good() {
    name=$1
    shift
    run "$@"
    dir=$(sed -n 's/^  RESULT    //p' "$tmp/out")
    [ $rc = 0 ] && [ ! -s "$tmp/err" ] && [ -s "$dir/per-layer-sensitivity.md" ] && no_halves tmp/run &&
        [ -s "$dir/per-layer-sensitivity.json" ] && [ "$(mk where CALIB_N=8 "$@")" = "$dir" ] &&
        mk -q sensitivity CALIB_N=8 "$@"
    report $? "$name"
}
# bad NAME MESSAGE ARGS...: exit code 2, a sentence that holds MESSAGE, then at most make's own line; no result
bad() {
    name=$1 message=$2
    shift 2
    run "$@"
    [ $rc = 2 ] && head -n 1 "$tmp/err" | grep -qF -- "$message" && no_halves tmp/run && ! grep -q RESULT "$tmp/out" &&
        [ "$(grep -cv '^make: \*\*\* \[' "$tmp/err")" = 1 ] && [ "$(wc -l <"$tmp/err")" -le 2 ]
    report $? "$name: ${message:-refused}"
}
model_at() { mkdir -p "$1" && cp -a models/tiny_qwen3_vl/. "$1"; }

# ---- odd names
odd="-é \$my 'odd' \"m\"#1 & (2)"
model_at "$tmp/$odd" && cp "$captions" "$tmp/$odd/-c\$1 it's \"one\" & #2.txt" && cp -a "$tmp/$odd" .
good 'a model with every odd character in its path' MODEL="$tmp/$odd"
first=$dir
[ "$(mk where CALIB_N=8 MODEL="$tmp/$odd//")" = "$first" ] && mk -q sensitivity CALIB_N=8 MODEL="$tmp/$odd/"
report $? 'with a slash behind it: the same run'
good 'the same relative, with a dash in front' MODEL="$odd"
[ "$dir" != "$first" ]
report $? 'another path is another run'
good 'captions with odd characters' MODEL="$tmp/$odd" DATASET="$tmp/$odd/-c\$1 it's \"one\" & #2.txt"
mk recipe CALIB_N=8 BITS=9.5 MODEL="$odd" DATASET="$odd/-c\$1 it's \"one\" & #2.txt" >"$tmp/out" 2>"$tmp/err" &&
    [ ! -s "$tmp/err" ] && [ -s "$(sed -n 's/^  RESULT    //p' "$tmp/out")" ]
report $? 'a recipe with odd names'
mk report >"$tmp/out" 2>"$tmp/err" && [ "$(wc -l <"$tmp/out")" = 3 ]
report $? 'make report finds them'
mk help MODEL="$odd" | grep -qF "MODEL=$odd "
report $? 'make help shows it'
LANG=C.UTF-8 LC_ALL=C.UTF-8 mk -q sensitivity CALIB_N=8 MODEL="$odd"
report $? 'another locale: the same run'
MODEL=$odd mk -q sensitivity CALIB_N=8
report $? 'the name in the environment: the same run'
(unset TMPDIR && mk -q sensitivity CALIB_N=8 MODEL="$odd" && cd / &&
    exec sh -c "${QSENS_MAKE:-make} \"\$@\"" make -q --no-print-directory -C "$tree" sensitivity CALIB_N=8 MODEL="$odd")
report $? 'from another directory, without TMPDIR: the same run'
printf 'PAIR = fp8_fp8\nMODEL = $(HOME)/a model\n' >config.mak
model_at "$HOME/a model"
good 'a config.mak that chooses pair and model'
case $dir in tmp/run/a_model-*/fp8_fp8/default) : ;; *) false ;; esac
report $? "config.mak is read: $dir"
rm config.mak
long=$(printf '%0200d' 7)
cp "$captions" "$tmp/$long"
good 'captions with a name of 200 characters' DATASET="$tmp/$long"
cp conf/quant_pair/fp4_fp8.yaml my-pair.v2.yaml
good 'a pair that is a file' PAIR=my-pair.v2.yaml
good 'a pair that is a file elsewhere' PAIR="$tree/my-pair.v2.yaml"

# ---- the Hugging Face cache: snapshots of links
HF_HOME=$tmp/hf
export HF_HOME
rev=0123456789abcdef0123456789abcdef01234567
hub=$HF_HOME/hub/models--Org--Tiny-VL
mkdir -p "$hub/blobs" "$hub/refs" "$hub/snapshots/$rev"
printf %s $rev >"$hub/refs/main"
for f in models/tiny_qwen3_vl/*; do
    blob=$(sha256sum <"$f" | cut -c1-64)
    cp -a "$f" "$hub/blobs/$blob" && ln -s "../../blobs/$blob" "$hub/snapshots/$rev/${f##*/}"
done
good 'a model of the Hugging Face cache' MODEL=Org/Tiny-VL
bad 'a model that the cache lacks' "the Hugging Face cache $HF_HOME/hub has no snapshot of it" MODEL=Org/Tiny-XL
rm "$hub/blobs/$(sha256sum <models/tiny_qwen3_vl/model.safetensors | cut -c1-64)"
bad 'a snapshot that was not downloaded whole' 'model.safetensors' MODEL=Org/Tiny-VL
unset HF_HOME

# ---- names that are none
bad 'no such model' "no model 'tiny_qwen3'" MODEL=tiny_qwen3
bad 'no such directory' "no model '/none': it is not a directory with a config.json" MODEL=/none
bad 'a model that is a file' "no model '/etc/passwd': it is not a directory with a config.json" MODEL=/etc/passwd
bad 'a model that is the root' "no model '/'" MODEL=/
bad 'a model that is above' "no model '..'" MODEL=..
bad 'an empty model' 'MODEL must not be empty' MODEL=
bad 'no such captions' "no dataset 'captions.txt'" DATASET=captions.txt
bad 'captions that are a directory' "no dataset '/etc': it is not a file" DATASET=/etc
if [ -c /dev/null ]; then
    bad 'captions that are a device' "no dataset '/dev/null': it is not a file" DATASET=/dev/null
fi
bad 'no such pair' "did you mean 'fp4_fp8'?" PAIR=fp4_fp9
bad 'a pair that is a directory' "no quant_pair 'conf'" PAIR=conf
bad 'two pairs' 'PAIR must be plain' PAIR='fp4_fp8 fp8_fp8'
bad 'a pair with a quote' 'PAIR must be plain' PAIR="it's"
bad 'an empty pair' 'PAIR must not be empty' PAIR=
bad 'a pair that is shell code' 'PAIR must be plain' PAIR='x;touch hacked'
bad 'no such granularity' "no quant_granularity 'fine'" GRANULARITY=fine
bad 'no such backend' "no backend 'gpu'" BACKEND=gpu
bad 'threads' 'option --threads wants a whole number' THREADS=many
for n_captions in 0 abc -1 1.5 1e3 99999999999999999999; do
    bad "$n_captions captions" '' CALIB_N=$n_captions
done
bad 'fewer captions than that' 'has 512 captions, 513 were asked for' CALIB_N=513
good 'fewer captions, allowed' CALIB_N=513 SET='dataset.allow_short=true'
bad 'an unknown key' "unknown key 'autoquant.dtpye'; did you mean 'autoquant.dtype'?" SET='autoquant.dtpye=fp32'
bad 'a setting without a value' "autoquant.dtype" SET='autoquant.dtype'
bad 'a value out of range' 'autoquant.effective_bits must be a number from 1 to 16' SET='autoquant.effective_bits=99'
# shellcheck disable=SC2016
for code in '; touch hacked' '$(touch hacked)' '`touch hacked`' '| touch hacked' '&& touch hacked' \
    "'; touch hacked; '" '$(shell touch hacked)' '"' "'" '\' '#' '%' '*' '$$' '../../../x=1' \
    'autoquant.dtype=$(touch hacked)'; do
    bad "SET='$code'" '' SET="$code"
done
bad 'two lines in SET' 'SET must be one line of text' SET='a
touch hacked'
bad 'two lines in MODEL' 'MODEL must be one line of text' MODEL='a
touch hacked'
bad 'two lines in PAIR' 'PAIR must be one line of text' PAIR='a
touch hacked'
[ -z "$(find . -name 'hacked*')" ]
report $? 'none of it ran'

# refused MESSAGE ARGS...: a recipe that is refused
refused() {
    message=$1
    shift
    mk recipe CALIB_N=8 "$@" >"$tmp/out" 2>"$tmp/err"
    [ $? = 2 ] && head -n 1 "$tmp/err" | grep -qF -- "$message" && ! ls tmp/run/*/*/recipe*zz* 2>/dev/null
    report $? "recipe $*: $message"
}
refused 'BITS must be a number' BITS=abc
refused 'BITS must be plain' BITS=-1
refused 'BITS must be a number' BITS=1.2.3
refused 'are out of reach' BITS=0
refused 'are out of reach' BITS=17
refused 'MENU must not be empty' MENU=
refused 'MENU must be plain' MENU='fp4_fp8;x'
refused "did you mean 'fp4_fp8'?" MENU='fp4_fp9 fp8_fp8'
refused 'two pairs of the same name' MENU='fp4_fp8 conf/quant_pair/fp4_fp8.yaml'
mk recipe CALIB_N=8 MENU='fp4_fp8 fp4_fp8' >"$tmp/out" 2>"$tmp/err" && mk -q recipe CALIB_N=8 MENU=fp4_fp8
report $? 'a pair twice on the menu is there once'
mk recipe CALIB_N=8 BITS=1 >"$tmp/out" 2>"$tmp/err" && grep -q 'no mix fits into' "$tmp/err"
report $? 'a budget that no mix meets: the cheapest, and says so'

# ---- files with something wrong inside
# wrong NAME MESSAGE ARGS...: refused by a stage; the stage's output is not there
captions_file() { cat >"$tmp/captions.txt"; }
captions_file </dev/null
bad 'no captions' 'holds no captions' DATASET="$tmp/captions.txt"
printf '\n \r\n\t\n' | captions_file
bad 'blank captions' 'holds no captions' DATASET="$tmp/captions.txt"
{ head -n 3 "$captions" && printf 'bad \377 here\n' && head -n 9 "$captions"; } | captions_file
bad 'captions that are not UTF-8' 'line 4 is not UTF-8: byte 0xff at byte 204 of the file' DATASET="$tmp/captions.txt"
{ head -c 1000000 /dev/zero | tr '\0' a && echo && head -n 9 "$captions"; } | captions_file
good 'a caption of 1 MB' DATASET="$tmp/captions.txt"
{ printf 'a \0 b\n' && head -n 9 "$captions"; } | captions_file
good 'a caption with a zero byte' DATASET="$tmp/captions.txt"
head -n 8 "$captions" | tr -d '\n' | captions_file
bad 'one long line' 'has 1 captions, 8 were asked for' DATASET="$tmp/captions.txt"
cp "$captions" "$tmp/captions.txt" && good 'plain captions' DATASET="$tmp/captions.txt" && cp -r "$dir" "$tmp/plain"
sed 's/$/\r/' "$captions" | captions_file
good 'the same with CR LF' DATASET="$tmp/captions.txt"
[ "$(jq -S .groups "$dir/scores.json" | sha256sum)" = "$(jq -S .groups "$tmp/plain/scores.json" | sha256sum)" ]
report $? 'have the same scores'

# broken NAME MESSAGE EDIT: a model after EDIT is refused; lm.json is not there
broken() {
    rm -rf "$tmp/broken" && model_at "$tmp/broken" && (cd "$tmp/broken" && eval "$3")
    bad "$1" "$2" MODEL="$tmp/broken"
    [ -z "$(find tmp/run/broken-* -name lm.json -o -name scores.json)" ]
    report $? '  and leaves no lm.json'
}
broken 'an empty weights file' '0 bytes are too short' ': >model.safetensors'
broken 'a truncated weights file' 'truncated?' 'truncate -s 1000000 model.safetensors'
broken 'no weights file' 'model.safetensors' 'rm model.safetensors'
broken 'a weights file that is a directory' 'model.safetensors' 'rm model.safetensors && mkdir model.safetensors'
broken 'config.json with something behind it' "not valid JSON at line 63, column 7: end of file expected near 'garb" \
    'echo garbage >>config.json'
broken 'an empty config.json' 'config.json' ': >config.json'
broken 'config.json of another model' 'llama' 'sed -i "s/\"qwen3_vl\"/\"llama\"/" config.json'

# ---- where nothing can be written
read_only() { # COMMAND...: as a user who may not write here
    if [ "$(id -u)" = 0 ]; then setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; else "$@"; fi
}
rm -f .git && mk all >/dev/null # git knows nothing of a tree of somebody else
good 'a run to be kept' PAIR=int8_int8
chmod 755 "$tmp" "$tree" && chmod -R a+rX "$tree"
if [ "$(id -u)" != 0 ]; then chmod -R a-w tmp/run; fi
if read_only test -r "$tree/Makefile" && ! read_only test -w "$tree/tmp/run"; then
    read_only sh -c "cd '$tree' && ${QSENS_MAKE:-make} sensitivity CALIB_N=8 PAIR=fp8_int8" >"$tmp/out" 2>"$tmp/err"
    [ $? = 2 ] && head -n 1 "$tmp/err" | grep -q ": Permission denied"
    report $? 'a directory that cannot be written'
else
    n=$((n + 1)) && echo "ok $n - a directory that cannot be written # SKIP cannot become another user here"
fi
chmod -R u+w tmp/run
mkdir "$tmp/small"
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=64k none "$tmp/small" 2>/dev/null; then
    trap 'umount "$tmp/small"; rm -rf "$tmp"' EXIT
    mv tmp/run tmp/run.kept && ln -s "$tmp/small" tmp/run
    run
    [ $rc = 2 ] && grep -q 'No space left on device' "$tmp/err" && no_halves "$tmp/small" &&
        ! find "$tmp/small" -name scores.json | grep .
    report $? 'a full disk'
    rm tmp/run && umount "$tmp/small" && trap 'rm -rf "$tmp"' EXIT && mv tmp/run.kept tmp/run
else
    n=$((n + 1)) && echo "ok $n - a full disk # SKIP cannot mount a small one here"
fi
mk -q sensitivity CALIB_N=8 PAIR=int8_int8
report $? 'what was there is as it was'
echo "1..$n"
