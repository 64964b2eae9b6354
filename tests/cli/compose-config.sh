#!/bin/sh
# compose-config: what is found and refused, what is written, and that nothing is touched without need.
top=$PWD
compose=$(cd "${QSENS_BUILD_DIR:-tmp/build/release}" && pwd)/compose-config
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
unset HF_HUB_CACHE HF_HOME XDG_CACHE_HOME
HOME=$tmp/home
export HOME
n=0

# report RC NAME: "ok" if RC is 0
report() {
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else
        echo "not ok $n - $2"
        sed 's/^/# /' "$tmp/err"
    fi
}
# good NAME ARGS...: exits 0, says nothing on stderr
good() {
    name=$1
    shift
    "$compose" "$@" >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/err" ]
    report $? "$name"
}
# bad CODE MESSAGE NAME ARGS...: exits with CODE and one line that holds MESSAGE; stdout is empty
bad() {
    code=$1 message=$2 name=$3
    shift 3
    "$compose" "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    [ $rc = "$code" ] && [ "$(wc -l <"$tmp/err")" = 1 ] && [ ! -s "$tmp/out" ] && grep -qF -- "$message" "$tmp/err"
    report $? "$name"
}
holds() { # FILE LINE NAME
    grep -qxF -- "$2" "$1" 2>"$tmp/err"
    report $? "$3"
}
# identity of every file below a directory: name, inode, times to the nanosecond
identity() { (cd "$1" && find . -type f -printf '%p %i %T@ %C@\n' | sort); }

# ---- what is chosen
good 'defaults' --print
cp "$tmp/out" "$tmp/defaults"
holds "$tmp/out" '  path: models/tiny_qwen3_vl' 'the bundled model'
holds "$tmp/out" '  captions: conf/dataset/sample_captions.txt' 'the bundled captions'
for pair in conf/quant_pair/*.yaml; do
    name=${pair##*/}
    name=${name%.yaml}
    "$compose" --pair "$name" --print 2>"$tmp/err" | grep -qx "  name: $name"
    report $? "pair $name"
done
good 'the example of the help' --pair fp8_fp8 --calib-n 16 --set 'autoquant.dtype=fp32' --print
holds "$tmp/out" '  dtype: fp32' 'override'
holds "$tmp/out" '  size: small' 'size follows calib-n'
good 'help of the keys' --help-keys
grep -q 'autoquant.effective_bits' "$tmp/out"
report $? 'help of the keys names them'

mkdir -p "$tmp/My model"
echo '{}' >"$tmp/My model/config.json"
printf 'a caption\n' >"$tmp/it's \$a #file.v1.txt"
good 'paths with blanks, quotes, $ and #' --model "$tmp/My model/" --dataset "$tmp/it's \$a #file.v1.txt" -o "$tmp/p" \
    --print
holds "$tmp/out" '  name: "My model"' 'a model is named by its directory'
holds "$tmp/p/args/extract-lm" "$tmp/My model" 'model path in an argument file'
holds "$tmp/p/args/calib-pack" "$tmp/it's \$a #file.v1.txt" 'captions path in an argument file'
holds "$tmp/p/args/manifest" "--dataset-name=it's \$a #file.v1" 'captions are named by their file'
good 'a path in an override' --set "dataset.captions=\"$tmp/it's \$a #file.v1.txt\"" --print
(cd "$tmp/My model" && : >-x.txt && : >d.txt &&
    "$compose" --conf "$top/conf" --model . --dataset d.txt --set dataset.captions=-x.txt -o "$tmp/dot" 2>"$tmp/err" &&
    cd "$tmp/dot" && grep -qxF './-x.txt' args/calib-pack && grep -qxF '.' args/extract-lm &&
    grep -qxF '  name: "My model"' composed-config.yaml)
report $? 'model "." is named by its directory; a file with a dash in front is no option'

# ---- Hugging Face cache
rev=0123456789abcdef0123456789abcdef01234567
snapshot() { # HUB
    mkdir -p "$1/models--Org--Model-2B/refs" "$1/models--Org--Model-2B/snapshots/$rev"
    printf '%s' $rev >"$1/models--Org--Model-2B/refs/main"
    echo '{}' >"$1/models--Org--Model-2B/snapshots/$rev/config.json"
}
snapshot "$HOME/.cache/huggingface/hub"
good 'model of the cache' --model Org/Model-2B --print
holds "$tmp/out" '  name: Model-2B' 'its name'
holds "$tmp/out" "  path: $HOME/.cache/huggingface/hub/models--Org--Model-2B/snapshots/$rev" 'its snapshot'
export HF_HUB_CACHE="$tmp/hub"
bad 2 "the Hugging Face cache $tmp/hub has no snapshot of it" 'HF_HUB_CACHE is the only place where it is set' \
    --model Org/Model-2B --print
snapshot "$tmp/hub"
good 'model in HF_HUB_CACHE' --model Org/Model-2B --print
mkdir "$tmp/hub/x" && echo '{}' >"$tmp/hub/x/config.json"
printf '../../x' >"$tmp/hub/models--Org--Model-2B/refs/main"
bad 2 'has no snapshot' 'a revision that is a path' --model Org/Model-2B --print
unset HF_HUB_CACHE
HF_HOME=$tmp/hf
export HF_HOME
snapshot "$HF_HOME/hub"
good 'model in HF_HOME' --model Org/Model-2B --print
holds "$tmp/out" "  path: $tmp/hf/hub/models--Org--Model-2B/snapshots/$rev" 'its snapshot'
unset HF_HOME

# ---- what is refused
bad 2 'nothing to do' 'no output' --pair fp8_fp8
bad 2 "unknown option '--pear'" 'unknown option' --pear fp8_fp8
bad 2 'not an empty name' 'empty directory name' -o ''
bad 2 "no quant_pair 'fp4_fp9': conf/quant_pair/fp4_fp9.yaml does not exist and it is not a file; did you mean 'fp4_" \
    'unknown pair' --pair fp4_fp9 --print
bad 2 "no quant_pair '../model/tiny_qwen3_vl'" 'a name is not a path' --pair ../model/tiny_qwen3_vl --print
bad 2 "no model 'tiny_qwen3': conf/model/tiny_qwen3.yaml does not exist and it is not a directory with a config.json" \
    'unknown model' --model tiny_qwen3 --print
bad 2 "no model '$tmp/none': it is not a directory with a config.json" 'a path that is no model' \
    --model "$tmp/none" --print
bad 2 "no dataset '$tmp': it is not a file" 'a path that is no captions file' --dataset "$tmp" --print
bad 2 "did you mean 'tiny_qwen3_vl'?" 'unknown model: suggestion' --model tiny_qwen3 --print
bad 2 "no dataset 'none.txt': conf/dataset/none.txt.yaml does not exist and it is not a file" 'unknown dataset' \
    --dataset none.txt --print
bad 2 "no quant_granularity 'w_group7'" 'unknown granularity' --granularity w_group7 --print
bad 2 "no preset 'x'" 'unknown preset' --preset x --print
bad 2 "no preset 'default': $tmp/none/preset/default.yaml does not exist" 'no configuration directory' \
    --conf "$tmp/none" --print
bad 2 "--calib-n: dataset.max_samples must be a whole number from 1 to 1000000, not '12x'" 'calib-n' --calib-n 12x \
    --print
bad 2 "override 'autoquant.dtpye=fp32': unknown key 'autoquant.dtpye'; did you mean 'autoquant.dtype'?" 'override' \
    --set 'autoquant.dtpye=fp32' --print
bad 2 "model.path: 'nowhere' is not a directory with a config.json" 'a model that is not there' \
    --set model.path=nowhere --print
bad 2 "dataset.captions: 'nowhere' is not a file" 'captions that are not there' --set dataset.captions=nowhere --print
sed 's/granularity: block, block: 16/granularity: tensor/' conf/quant_pair/fp4_fp16.yaml >"$tmp/x.yaml"
bad 2 "$tmp/x.yaml:5: weight: fp4 weights need block scales" 'a pair that cannot be run' --pair "$tmp/x.yaml" --print
printf 'captions: conf/dataset/sample_captions.txt\ntyp: 1\n' >"$tmp/d.yaml"
bad 2 "$tmp/d.yaml:2: unknown key 'dataset.typ'" 'unknown key in a file' --dataset "$tmp/d.yaml" --print
: >"$tmp/file"
bad 1 'cannot write' 'an output directory that is a file' -o "$tmp/file"

preset() { # NAME MESSAGE TEXT
    rm -rf "$tmp/conf" && cp -r conf "$tmp/conf" && printf '%b' "$3" >"$tmp/conf/preset/default.yaml"
    bad 2 "$2" "preset: $1" --conf "$tmp/conf" --print
}
preset 'no list' "default.yaml:1: a preset has one key, 'defaults'" 'model: x\n'
preset 'unknown group' "default.yaml:2: unknown group 'modle'; did you mean 'model'?" 'defaults:\n  - modle: x\n'
preset 'group twice' "default.yaml:3: 'model' is already in the list" 'defaults:\n  - model: a\n  - model: b\n'
preset 'entry of two' "an entry of 'defaults' is 'group: name'" 'defaults:\n  - {model: a, dataset: b}\n'
preset 'no pair' "preset 'default' names no quant_pair, and no option does" 'defaults:\n  - model: tiny_qwen3_vl\n'
preset 'unknown file' "no autoquant 'fast'" 'defaults:\n  - autoquant: fast\n'

# ---- nothing is touched without need
good 'first run' -o "$tmp/run"
identity "$tmp/run" >"$tmp/before"
[ "$(wc -l <"$tmp/before")" = 8 ]
report $? 'eight files'
cmp -s "$tmp/defaults" "$tmp/run/composed-config.yaml"
report $? '--print prints composed-config.yaml'
same() { # NAME ARGS...
    name=$1
    shift
    "$compose" -o "$tmp/run" "$@" 2>"$tmp/err" && identity "$tmp/run" | cmp -s - "$tmp/before"
    report $? "untouched: $name"
}
same 'second run'
same 'a default spelled out' --set 'autoquant.dtype=bf16 autoquant.effective_bits=8' --set 'dataset.size=null'
same 'options that name the defaults' --pair fp4_fp8 --calib-n 128 --model tiny_qwen3_vl --dataset sample_captions \
    --granularity default
rm -rf "$tmp/conf" && cp -r conf "$tmp/conf"
for f in "$tmp"/conf/*/*.yaml; do
    sed -i '1i # another comment' "$f" && sed -i 's/ *#.*//; s/^batch_size: 8$/batch_size:   0x8/' "$f"
done
same 'comments and spelling of the files' --conf "$tmp/conf"

# changed ARGS... : prints the files that a run with ARGS changes
changed() {
    "$compose" -o "$tmp/run" && identity "$tmp/run" >"$tmp/before"
    "$compose" -o "$tmp/run" "$@" 2>"$tmp/err"
    identity "$tmp/run" | diff "$tmp/before" - | sed -n 's/^> \.\/\([^ ]*\) .*/\1/p' | tr '\n' ' '
}
[ "$(changed --set autoquant.effective_bits=6)" = 'args/manifest args/recipe-search composed-config.yaml ' ]
report $? 'the budget concerns manifest and search only'
[ "$(changed --set dataset.seq_len=64)" = 'args/calib-pack composed-config.yaml ' ]
report $? 'the length concerns calib-pack only'
[ "$(changed --set autoquant.block=4)" = 'args/autoquant-score composed-config.yaml ' ]
report $? 'the block concerns autoquant-score only'
[ "$(changed --pair fp8_fp8)" = 'args/manifest composed-config.yaml pair.yaml ' ]
report $? 'the pair concerns pair.yaml and the manifest'
[ -z "$(find "$tmp/run" -name '*.tmp')" ]
report $? 'no temporary file stays'

echo "1..$n"
