#!/bin/sh
# synth-model: what it writes is a checkpoint that extract-lm takes, the same bytes for the same seed.
B=$(cd "${QSENS_BUILD_DIR:-tmp/build/release}" && pwd) || exit 1
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
n=0 failed=0
report() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; fi
}
# exits CODE PART NAME COMMAND...: the exit code, and a part of what is said on stderr
exits() {
    code=$1 part=$2 name=$3
    shift 3
    "$@" >"$T/stdout" 2>"$T/stderr"
    got=$?
    [ "$got" -eq "$code" ] && grep -qF -e "$part" "$T/stderr" && [ "$(wc -l <"$T/stderr")" -le 1 ]
    s=$?
    report $s "$name"
    [ $s -eq 0 ] || sed "s/^/# exit $got: /" "$T/stderr"
}
synth() { "$B/synth-model" "$@"; }
hash_of() { sha256sum <"$1"; }
weights() { "$B/extract-lm" "$1" | grep weights_sha256; }

# ---- every layout passes extract-lm: name | options
i=0
while IFS='|' read -r name options; do
    i=$((i + 1))
    # shellcheck disable=SC2086  # options are words
    synth --size tiny $options -o "$T/m$i" >"$T/log" 2>&1 && "$B/extract-lm" -o "$T/m$i.json" "$T/m$i" >>"$T/log" 2>&1
    s=$?
    report $s "$name"
    [ $s -eq 0 ] || sed 's/^/# /' "$T/log"
done <<'END'
plain|
seed 2|--seed 2
three shards|--shards 3
untied|--untied
untied by --set|--set tie_word_embeddings=false
fp32|--dtype f32
fp16|--dtype f16
6 heads, 3 of keys, of 16|--set num_attention_heads=6 --set num_key_value_heads=3 --set head_dim=16
one layer, odd sizes|--set num_hidden_layers=1 --set hidden_size=97 --set intermediate_size=131
spelling of transformers 5|--rope-parameters
no deepstack|--set vision_config.deepstack_visual_indexes=[]
as many shards as tensors|--set num_hidden_layers=1 --set vision_config.depth=1 --set vision_config.deepstack_visual_indexes=[] --shards 34
END

synth -o "$T/again" && cmp -s "$T/m1/model.safetensors" "$T/again/model.safetensors"
report $? 'the same bytes for the same seed'
synth -j 1 -o "$T/one" && cmp -s "$T/m1/model.safetensors" "$T/one/model.safetensors"
report $? 'the same bytes on one thread'
[ "$(hash_of "$T/m1/model.safetensors")" = '9bda23852c8db1f7b864783a734ee0dc3c323963e5fceeb794865eb3d238fb77  -' ]
report $? 'the bytes of seed 1 are pinned'
[ "$(weights "$T/m1")" != "$(weights "$T/m2")" ]
report $? 'another seed, other weights'
[ "$(weights "$T/m1")" = "$(weights "$T/m3")" ]
report $? 'shards hold the same weights'
[ "$(weights "$T/m4")" = "$(weights "$T/m5")" ]
report $? '--untied equals --set tie_word_embeddings=false'
[ "$(weights "$T/m1")" = "$(weights "$T/m10")" ]
report $? 'the spelling of rope changes no weights and no identity'
[ "$(find "$T/m12" -name 'model-*' | wc -l)" -eq 34 ] && [ ! -e "$T/m12/model.safetensors" ]
report $? '34 shards and no model.safetensors'
synth --tokenizer-from models/tiny_qwen3_vl -o "$T/tok" &&
    cmp -s models/tiny_qwen3_vl/tokenizer.json "$T/tok/tokenizer.json" &&
    [ -e "$T/tok/vocab.json" ] && [ -e "$T/tok/merges.txt" ] && [ -e "$T/tok/tokenizer_config.json" ] &&
    [ -e "$T/tok/generation_config.json" ]
report $? 'tokenizer files are copied'
mkdir "$T/stale" && : >"$T/stale/model.safetensors" && synth --shards 2 -o "$T/stale" &&
    [ ! -e "$T/stale/model.safetensors" ]
report $? 'a half-written other layout is removed'
find "$T" -name '*.tmp' | grep -q . && s=1 || s=0
report $s 'no temporary files are left'

# ---- refused
exits 2 'missing option -o DIR' 'no directory' synth
exits 2 "unknown size '9b', known are tiny, 0.3b, 2b, 4b, 8b, 32b" 'unknown size' synth --size 9b -o "$T/x"
exits 2 "option --dtype wants bf16, f16 or f32, not 'fp8'" 'unknown type' synth --dtype fp8 -o "$T/x"
exits 2 "--set wants key=value, not 'hidden_size'" 'a key without a value' synth --set hidden_size -o "$T/x"
exits 2 "config.json has no key 'hiden_size'" 'unknown key' synth --set hiden_size=5 -o "$T/x"
exits 2 "config.json has no key 'vision_config.x.y'" 'unknown place' synth --set vision_config.x.y=5 -o "$T/x"
exits 2 "'hidden_size' must be a whole number" 'a text for a number' synth --set hidden_size=big -o "$T/x"
exits 2 'attention biases are not supported' 'what extract-lm refuses' synth --set attention_bias=true -o "$T/x"
exits 2 'not a multiple of 3' 'heads that do not divide' synth --set num_key_value_heads=3 -o "$T/x"
exits 2 'whole numbers below the depth, 1' 'deepstack beyond the depth' synth --set vision_config.depth=1 -o "$T/x"
exits 2 '4000 shards for 113 tensors' 'too many shards' synth --shards 4000 -o "$T/x"
exits 2 'wants a whole number from 1 to 4096' 'no shards' synth --shards 0 -o "$T/x"
exits 2 'holds a model already' 'a finished model is not overwritten' synth -o "$T/m1"
exits 2 "has no tokenizer files" 'a directory without a tokenizer' synth --tokenizer-from lib -o "$T/x"
exits 2 "unexpected argument 'extra'" 'an operand' synth extra -o "$T/x"
synth --force --seed 2 -o "$T/again" && cmp -s "$T/m2/model.safetensors" "$T/again/model.safetensors"
report $? 'unless --force says so'
exits 1 'cannot make directory' 'a file in the way' synth -o "$T/m1/config.json/y"
[ ! -e "$T/x/config.json" ]
report $? 'what is refused leaves no config.json'

# ---- the help's example
example=$(synth --help | sed -n '/^example:/{n;s/^ *//p;}')
(cd "$T" && PATH=$B:$PATH eval "$example" && PATH=$B:$PATH eval "$example") >"$T/log" 2>&1 &&
    [ -e "$T/tmp/synth/config.json" ]
report $? "example: $example"

echo "1..$n"
exit $failed
