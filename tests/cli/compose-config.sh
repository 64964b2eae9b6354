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
bad 2 "no preset 'default': $tmp/none/preset/default.yaml does not exist and it is not a file" \
    'no configuration directory' --conf "$tmp/none" --print
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


# ---- presets
conf() { rm -rf "$tmp/conf" && cp -r conf "$tmp/conf"; }
# preset NAME TEXT: write that preset file of $tmp/conf
preset() { printf '%b' "$2" >"$tmp/conf/preset/$1.yaml"; }
bad_preset() { # NAME MESSAGE TEXT
    conf && preset default "$3"
    bad 2 "$2" "preset: $1" --conf "$tmp/conf" --print
}
bad_preset 'a list' "default.yaml:1: a preset has a list 'defaults' and groups with values" '[model]\n'
bad_preset 'defaults that are no list' "default.yaml:1: 'defaults' is a list of" 'defaults: {model: x}\n'
bad_preset 'unknown group' "default.yaml:2: unknown group 'modle'; did you mean 'model'?" 'defaults:\n  - modle: x\n'
bad_preset 'unknown group with values' "default.yaml:1: unknown group 'autoqant'; did you mean 'autoquant'?" \
    'autoqant: {dtype: fp32}\n'
bad_preset 'unknown key of its own' "default.yaml:2: unknown key 'autoquant.dtpye'; did you mean 'autoquant.dtype'?" \
    'autoquant:\n  dtpye: fp32\n'
bad_preset 'wrong type of its own' "default.yaml:2: autoquant.block must be a whole number from 1 to 1024, not 'x'" \
    'autoquant:\n  block: x\n'
bad_preset 'group twice' "default.yaml:2 chooses the model already; to choose anew write 'override model: b'" \
    'defaults:\n  - model: a\n  - model: b\n'
bad_preset 'nothing to override' "default.yaml:2: nothing before this chooses a model: leave 'override' out" \
    'defaults:\n  - override model: a\n'
bad_preset 'entry of two' "an entry of 'defaults' is 'group: name'" 'defaults:\n  - {model: a, dataset: b}\n'
bad_preset 'a number for a name' "default.yaml:2: model must be the name of a file or null, not '12'" \
    'defaults:\n  - model: 12\n'
bad_preset '_self_ twice' 'default.yaml:3: _self_ stands in the list twice' 'defaults:\n  - _self_\n  - _self_\n'
bad_preset 'no pair' 'no pair is chosen: give --pair' 'defaults:\n  - model: tiny_qwen3_vl\n'
bad_preset 'unknown file' "default.yaml:2: no autoquant 'fast'" 'defaults:\n  - autoquant: fast\n'
bad_preset 'unknown preset in the list' "default.yaml:2: no preset 'defalt'" 'defaults:\n  - preset: defalt\n'
bad_preset 'itself' 'default.yaml:2: the presets go in a circle: default -> default' 'defaults:\n  - preset: default\n'
conf && preset default 'defaults:\n  - preset: a\n' && preset a 'defaults:\n  - preset: b\n' &&
    preset b 'defaults:\n  - preset: a\n'
bad 2 'conf/preset/b.yaml:2: the presets go in a circle: a -> b -> a' 'presets in a circle' --conf "$tmp/conf" --print
conf && preset default 'defaults:\n  - preset: a\n  - preset: a\n' && preset a '{}'
bad 2 "default.yaml:3: preset 'a' is already part of the list" 'a preset twice' --conf "$tmp/conf" --print

conf && cp conf/preset/default.yaml "$tmp/conf/preset/base.yaml"
echo 'dtype: fp32' >"$tmp/conf/autoquant/fast.yaml"
preset fast 'defaults:
  - preset: base
  - override quant_pair: int8_int8
  - override autoquant: fast
  - override output_layout: null
dataset: {size: "${quant_pair.name}-${dataset.max_samples}"}
autoquant: {block: 4}\n'
good 'a preset on top of another' --conf "$tmp/conf" --preset fast --print
for line in '  name: int8_int8' '  dtype: fp32' '  block: 4' '  size: int8_int8-128' '  name: tiny_qwen3_vl'; do
    holds "$tmp/out" "$line" "it holds '$line'"
done
good 'options and overrides on top of it' --conf "$tmp/conf" --preset fast --pair fp8_fp8 --calib-n 16 \
    --set 'autoquant=default autoquant.block=2' --print
for line in '  name: fp8_fp8' '  dtype: bf16' '  block: 2' '  size: fp8_fp8-16'; do
    holds "$tmp/out" "$line" "it holds '$line'"
done
echo 'block: 2' >"$tmp/conf/autoquant/fast.yaml"
good 'values of a preset win over its files' --conf "$tmp/conf" --preset fast --print
holds "$tmp/out" '  block: 4' 'at the end by default'
preset fast 'defaults:
  - _self_
  - preset: base
  - override autoquant: fast
autoquant: {block: 4, dtype: fp32}\n'
good '_self_ in front' --conf "$tmp/conf" --preset fast --print
holds "$tmp/out" '  block: 2' 'lets the files win'
holds "$tmp/out" '  dtype: fp32' 'where they say something'
good 'a preset file of one'"'"'s own' --conf "$tmp/conf" --preset "$tmp/conf/preset/fast.yaml" --print
printf 'name: mine\nquant_cfg_overrides:\n  "*weight_quantizer": {axis: 1}\n' >"$tmp/my overlay.yaml"
good 'an overlay of one'"'"'s own' --pair int8_fp16 --granularity "$tmp/my overlay.yaml" --print
holds "$tmp/out" '  weight: {format: int8, granularity: in_channel, dynamic: false}' 'is merged onto the pair'

# ---- references: in files and overrides, never in the paths of options
awkward="\$x \${model.name} it's \"#1\""
mkdir -p "$tmp/$awkward" && echo '{}' >"$tmp/$awkward/config.json" && echo caption >"$tmp/$awkward.txt"
good 'paths that look like references' --model "$tmp/$awkward" --dataset "$tmp/$awkward.txt" -o "$tmp/ref" \
    --set 'dataset.root=${model.path}'
holds "$tmp/ref/args/extract-lm" "$tmp/$awkward" 'the model path is as given'
holds "$tmp/ref/args/extract-lm" "--name=$awkward" 'its name too'
holds "$tmp/ref/args/calib-pack" "$tmp/$awkward.txt" 'the captions path is as given'
holds "$tmp/ref/args/manifest" "--dataset-root=$tmp/$awkward" 'a reference to it gives it as it is'
bad 2 'dataset.captions must be a path on one line' 'a line break in a path' --dataset "$(
    printf caption >"$tmp/a
b" && echo "$tmp/a
b")" --print
bad 2 "no model 'a?b'" 'a line break in a name' --model 'a
b' --print

# ---- granularities
good 'an overlay' --pair int8_int8 --granularity w_group64 -o "$tmp/gran"
holds "$tmp/gran/pair.yaml" 'weight: {format: int8, granularity: block, block: 64, dynamic: false}' \
    'pair.yaml is merged'
holds "$tmp/gran/pair.yaml" 'recipe_name: CUSTOM_0' 'and named as the reference names it'
holds "$tmp/gran/composed-config.yaml" '  quant_cfg_overrides: {"*weight_quantizer": {"block_sizes": {"-1": 64}}}' \
    'composed-config.yaml shows the overlay'
holds "$tmp/gran/args/manifest" '--overrides={"*weight_quantizer": {"block_sizes": {"-1": 64}}}' 'the manifest gets it'
holds "$tmp/gran/args/autoquant-score" '--granularity=w_group64' 'the scores get its name'
bad 2 "granularity 'w_group64' on pair 'mxfp4_fp8': weight: mxfp4 weights have blocks of 32, not 64" \
    'what cannot be run' --pair mxfp4_fp8 --granularity w_group64 --print

# ---- cells
good 'cells' --calib-n 16 --pair fp4_fp8 -o "$tmp/one"
good 'cells' --cell "fp4_fp8,default,16=$tmp/cells/a" --cell "int8_int8,w_group64,128=$tmp/cells/b, c=d"
diff -r "$tmp/one" "$tmp/cells/a" >"$tmp/err" 2>&1
report $? 'a cell is what the options give'
diff -r "$tmp/gran" "$tmp/cells/b, c=d" >"$tmp/err" 2>&1
report $? 'another cell too, in a directory with blank, comma and equals sign'
identity "$tmp/cells" >"$tmp/before"
good 'cells again' --cell "fp4_fp8,default,16=$tmp/cells/a" --cell "int8_int8,w_group64,128=$tmp/cells/b, c=d"
identity "$tmp/cells" | cmp -s - "$tmp/before"
report $? 'untouched'
cp conf/quant_pair/fp8_fp8.yaml "$tmp/a=1,b.yaml"
good 'a pair file with comma and equals sign' --cell "$tmp/a=1,b.yaml,default,16=$tmp/cells/c"
rm -rf "$tmp/cells"
bad 2 "cell fp4_fp8,w_per_tensor,16: granularity 'w_per_tensor' on pair 'fp4_fp8': weight: fp4 weights need block" \
    'one cell that cannot be run' --cell "fp8_fp8,default,16=$tmp/cells/a" --cell "fp4_fp8,w_per_tensor,16=$tmp/cells/b"
[ ! -e "$tmp/cells" ]
report $? 'nothing is written then'
bad 2 "two cells go to '$tmp/x'" 'two cells in one directory' --cell "fp8_fp8,default,16=$tmp/x" \
    --cell "fp4_fp8,default,16=$tmp/x"
for cell in fp8_fp8,default,16 fp8_fp8,16=x fp8_fp8,default,=x fp8_fp8,default,1x=x ,default,16=x fp8_fp8,,16=x \
    fp8_fp8,default,16=; do
    bad 2 "--cell wants PAIR,GRANULARITY,N=DIR, not '$cell'" "cell '$cell'" --cell "$cell"
done
bad 2 'cell fp8_fp8,default,0: --calib-n: dataset.max_samples must be a whole number from 1' 'no captions' \
    --cell "fp8_fp8,default,0=$tmp/x"
bad 2 '--cell names pair, granularity' 'cells and a pair' --pair fp8_fp8 --cell "fp8_fp8,default,16=$tmp/x"
bad 2 "override 'dataset.max_samples=3': dataset.max_samples is given by --calib-n" 'cells and their size again' \
    --set dataset.max_samples=3 --cell "fp8_fp8,default,16=$tmp/x"

# ---- nothing is touched without need
good 'first run' -o "$tmp/run"
identity "$tmp/run" >"$tmp/before"
[ "$(wc -l <"$tmp/before")" = 7 ]
report $? 'seven files'
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
for f in "$tmp"/conf/autoquant/default.yaml "$tmp"/conf/quant_pair/fp4_fp8.yaml; do
    tac "$f" >"$tmp/x" && cp "$tmp/x" "$f"
done
{
    grep -v ' - ' "$tmp/conf/preset/default.yaml"
    grep ' - ' "$tmp/conf/preset/default.yaml" | tac
} >"$tmp/x" && cp "$tmp/x" "$tmp/conf/preset/default.yaml"
same 'order of keys and of the list' --conf "$tmp/conf"
rm "$tmp"/conf/autoquant/default.yaml && : >"$tmp/conf/autoquant/default.yaml"
same 'defaults left out' --conf "$tmp/conf"

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
[ "$(changed --pair int8_int8 --granularity w_per_out_channel)" = \
    'args/autoquant-score args/manifest composed-config.yaml pair.yaml ' ]
report $? 'the granularity concerns pair.yaml, scores and manifest'
[ "$(changed --pair fp8_fp8)" = 'args/manifest composed-config.yaml pair.yaml ' ]
report $? 'the pair concerns pair.yaml and the manifest'
[ -z "$(find "$tmp/run" -name '*.tmp')" ]
report $? 'no temporary file stays'

echo "1..$n"
