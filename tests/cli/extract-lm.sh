#!/bin/sh
# extract-lm: checkpoints that are taken, and every way in which one is refused.
B=$(cd "${QSENS_BUILD_DIR:-tmp/build/release}" && pwd) || exit 1
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
M=models/tiny_qwen3_vl
D=$T/model # the model that a row breaks
# shellcheck disable=SC2034 # the rows use it
I=$D/model.safetensors.index.json
n=0 failed=0
report() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; fi
}
extract() { "$B/extract-lm" "$@"; }
value() { sed -n "s/^ *\"$2\": \"*\([^\",]*\)\"*,*$/\1/p" "$1" | head -n 1; } # FILE KEY
tensor() { sed -n "/\"name\": \"$2\"/,/}/p" "$1" >"$T/tensor" && value "$T/tensor" "$3"; } # FILE NAME KEY
poke() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null; } # FILE BYTE OCTAL
# says PART ARGS...: runs with -v, to its end, and looks for PART on stderr
says() {
    part=$1
    shift
    extract -v "$@" >"$T/stdout" 2>"$T/stderr" && grep -q -e "$part" "$T/stderr"
}
edit() { sed -i "$2" "$1"; }

# ---- the bundled model
extract -o "$T/lm.json" "$M"
report $? 'the bundled model'
[ "$(value "$T/lm.json" weights_sha256)" = 70defa71ccf5449c41521faee0840d6cbda4ab3013a2cacc20d9ec0c9fc4cebb ]
report $? 'its identity is pinned'
[ "$(grep -c '"part": "vision"' "$T/lm.json")" -eq 15 ] && [ "$(grep -c '"part": "lm"' "$T/lm.json")" -eq 43 ]
report $? '15 vision units, 43 of the language model'
sed -n 's/^ *"weights": \([0-9]*\),/\1/p' "$T/lm.json" | awk '{ n += $1 } END { exit n != 1916928 }'
report $? '1,916,928 weights'
want=$(sha256sum "$M/model.safetensors" >/dev/null; o=$(tensor "$T/lm.json" model.language_model.norm.weight offset)
    tail -c +$((o + 1)) "$M/model.safetensors" | head -c 256 | sha256sum | cut -d' ' -f1)
[ "$(tensor "$T/lm.json" model.language_model.norm.weight sha256)" = "$want" ]
report $? "a tensor's hash is that of its bytes"
extract "$M" | cmp -s - "$T/lm.json"
report $? 'standard output gets the same bytes'
extract -j 1 -o "$T/one.json" "$M" && cmp -s "$T/one.json" "$T/lm.json"
report $? 'one thread gives the same bytes'
says 'hashes reused, no weights read' -o "$T/lm.json" "$M" && cmp -s "$T/one.json" "$T/lm.json"
report $? 'a second run reads no weights and writes the same bytes'
says 'GB hashed in' --rehash -o "$T/lm.json" "$M"
report $? '--rehash reads them'
echo '{' >"$T/lm.json" && says 'hashes are not reused:.*not valid JSON' -o "$T/lm.json" "$M" &&
    cmp -s "$T/one.json" "$T/lm.json"
report $? 'a broken lm.json is replaced'
cp -r "$M" "$T/copy" && cp "$T/one.json" "$T/c.json" && says 'GB hashed in' -o "$T/c.json" "$T/copy" &&
    [ "$(value "$T/c.json" weights_sha256)" = "$(value "$T/one.json" weights_sha256)" ]
report $? 'a copy elsewhere is hashed, its identity is the same'
touch "$T/copy/model.safetensors" && says 'GB hashed in' -o "$T/c.json" "$T/copy"
report $? 'another mtime: hashed again'
(cd "$M" && "$B/extract-lm" . >"$T/dot.json") && grep -q '"name": "tiny_qwen3_vl"' "$T/dot.json"
report $? 'the name of "." is the directory'"'"'s'

# ---- other layouts
mkdir -p "$T/hub/blobs" "$T/hub/snapshots/abc" && cp "$M/model.safetensors" "$T/hub/blobs/1" &&
    cp "$M/config.json" "$T/hub/blobs/2" &&
    ln -s ../../blobs/1 "$T/hub/snapshots/abc/model.safetensors" &&
    ln -s ../../blobs/2 "$T/hub/snapshots/abc/config.json" &&
    extract -o "$T/hub.json" "$T/hub/snapshots/abc" &&
    [ "$(value "$T/hub.json" weights_sha256)" = "$(value "$T/one.json" weights_sha256)" ]
report $? 'links, as in the Hugging Face cache'
"$B/synth-model" --shards 3 --untied -o "$T/sharded" && extract -o "$T/s.json" "$T/sharded" &&
    [ "$(grep -c '"path": "/.*/model-0000[123]-of-00003.safetensors"' "$T/s.json")" -eq 3 ] &&
    grep -q '"role": "lm_head"' "$T/s.json"
report $? 'shards, untied'
"$B/synth-model" --untied -o "$T/both" && edit "$T/both/config.json" '/tie_word_embeddings/s/false/true/' &&
    says 'lm_head.weight is ignored' -o "$T/b.json" "$T/both" && grep -q '"tied": true' "$T/b.json" &&
    ! grep -q '"name": "lm_head.weight"' "$T/b.json"
report $? 'tied in config.json with an lm_head.weight: the embedding is used'
edit "$T/both/config.json" '/tie_word_embeddings/d' && extract -o "$T/b.json" "$T/both" &&
    grep -q '"tied": false' "$T/b.json"
report $? 'tie unsaid with an lm_head.weight: untied'
cp -r "$M" "$T/unsaid" && edit "$T/unsaid/config.json" '/tie_word_embeddings/d' &&
    extract -o "$T/b.json" "$T/unsaid" && grep -q '"tied": true' "$T/b.json"
report $? 'tie unsaid without one: tied'
extract -o "$T/plain.json" --materialize "$T/plain" "$M" && grep -q '"Qwen3ForCausalLM"' "$T/plain/config.json" &&
    cmp -s "$M/tokenizer.json" "$T/plain/tokenizer.json" &&
    head -c 300 "$T/plain/model.safetensors" | grep -q '"model.embed_tokens.weight"'
report $? '--materialize writes a plain Qwen3 checkpoint'
cp "$T/plain/model.safetensors" "$T/first" && extract -o "$T/plain.json" --materialize "$T/plain" "$M" &&
    cmp -s "$T/first" "$T/plain/model.safetensors"
report $? 'and again, over its own result'
sed 's/"model.visual/"nodel.visual/g' "$M/model.safetensors" >"$T/blind" && cp -r "$M" "$T/no-vision" &&
    mv "$T/blind" "$T/no-vision/model.safetensors" &&
    says 'no vision tower' -o "$T/nv.json" "$T/no-vision" && ! grep -q '"part": "vision"' "$T/nv.json"
report $? 'no vision tower: a note, no vision units'

# ---- refused: exit code | part of the message | name | what breaks the model in $D
row() {
    code=$1 part=$2 name=$3
    rm -rf "$D" "$T/out.json" && cp -r "$M" "$D" && eval "$4" || { report 1 "$name (set up)"; return; }
    extract -o "$T/out.json" $options "$D" >"$T/stdout" 2>"$T/stderr"
    got=$?
    [ "$got" -eq "$code" ] && grep -qF -e "$part" "$T/stderr" && [ "$(wc -l <"$T/stderr")" -eq 1 ] &&
    [ ! -s "$T/stdout" ] &&
        [ ! -e "$T/out.json" ] && [ ! -e "$T/out.json.tmp" ]
    s=$?
    report $s "$name"
    [ $s -eq 0 ] || sed "s/^/# exit $got: /" "$T/stderr"
}
options=
W=$D/model.safetensors C=$D/config.json
o=$(tensor "$T/one.json" model.language_model.layers.2.mlp.up_proj.weight offset)
while IFS='|' read -r code part name action; do
    row "$code" "$part" "$name" "$action"
done <<'END'
1|cannot open|no directory|rm -r "$D"
1|config.json': No such file|empty directory|rm -r "$D"/*
1|config.json': Is a directory|config.json is a directory|rm "$C" && mkdir "$C"
1|has neither model.safetensors nor model.safetensors.index.json|no weights|rm "$W"
1|is not a regular file|weights are a directory|rm "$W" && mkdir "$W"
3|config.json': not valid JSON at line 1|config.json is empty|: >"$C"
3|not valid JSON|config.json is cut|head -c 700 "$M/config.json" >"$C"
3|not valid JSON|config.json is binary|head -c 999 "$W" >"$C"
1|larger than|config.json is huge|head -c 2000000 /dev/zero >"$C"
3|missing key 'model_type'|config.json is another JSON|echo '{"a": 1}' >"$C"
2|mixture-of-experts models are not supported|mixture of experts|edit "$C" 's/"qwen3_vl"/"qwen3_vl_moe"/'
2|model_type 'llama' is not supported|another family|edit "$C" 's/"qwen3_vl"/"llama"/'
2|already quantized (quantization_config, method 'fp8')|quantized checkpoint|edit "$C" 's/^{/{"quantization_config": {"quant_method": "fp8"},/'
2|attention biases are not supported|attention bias|edit "$C" '/attention_bias/s/false/true/'
2|activation 'gelu' is not supported|another activation|edit "$C" 's/"silu"/"gelu"/'
2|rope type 'yarn' is not supported|another rope|edit "$C" '/rope_type/s/default/yarn/'
3|must be three whole numbers that add up to half a head, 16|rope sections|edit "$C" 's/^ *6,$/7,/'
3|4 attention heads are not a multiple of 3|heads|edit "$C" '/num_key_value_heads/s/2/3/'
3|the hidden size is 1000000000|absurd size|edit "$C" '/"hidden_size": 128/s/128/1000000000/'
3|gate_proj.weight' is [384, 128], config.json asks for [385, 128]|another MLP size|edit "$C" '/"intermediate_size": 384/s/384/385/'
3|embed_tokens.weight' is [2112, 128], config.json asks for [2113, 128]|another vocabulary|edit "$C" 's/2112/2113/'
3|tensor 'model.language_model.layers.6.input_layernorm.weight' is missing|a layer too few|edit "$C" '/num_hidden_layers/s/6/7/'
3|layers.5.input_layernorm.weight' has no place in the model|a layer too many|edit "$C" '/num_hidden_layers/s/6/5/'
3|tensor 'lm_head.weight' is missing|untied without lm_head|edit "$C" '/tie_word_embeddings/s/true/false/'
3|the vision tower is incomplete: |a vision block too few|edit "$C" '/"depth"/s/2/3/'
3|patch_embed.proj.weight' is [64, 3, 2, 16, 16], config.json asks for [64, 3, 2, 14, 14]|another patch size|edit "$C" '/"patch_size"/s/16/14/'
3|config.json has no vision_config|no vision_config|edit "$C" 's/"vision_config"/"fission_config"/'
3|too short for a safetensors file|weights are empty|: >"$W"
3|0 bytes at byte 0 does not fit|weights cut in the length|head -c 4 "$M/model.safetensors" >"$W" && printf '\377\377\377\377' >>"$W"
3|does not fit the file|weights cut in the header|head -c 5000 "$M/model.safetensors" >"$W"
3|(truncated?)|weights cut after the header|head -c 20000 "$M/model.safetensors" >"$W"
3|(truncated?)|weights cut by one byte|head -c 3866951 "$M/model.safetensors" >"$W"
3|does not fit the file|header length is huge|poke "$W" 7 '\377'
3|not valid JSON|header is no JSON|poke "$W" 8 '['
3|element type 'BG16' is not supported|unknown element type|edit "$W" 's/"BF16"/"BG16"/'
3|element type 'F8_E4M3' is not supported|an FP8 tensor|edit "$W" 's/"BF16"/"F8_E4M3"/'
3|is I16, supported are BF16, F16 and F32|integer weights|edit "$W" 's/"BF16"/"I16" /'
3|has no place in the model|a bias|edit "$W" 's/visual.deepstack_merger_list.0.norm.weight/language_model.layers.0.mlp.down_proj.bias/'
3|layers.2.mlp.up_proj.weight' is NaN or infinite at element 5|NaN|poke "$W" $((o + 10)) '\300\177'
3|layers.2.mlp.up_proj.weight' is NaN or infinite at element 0|infinity|poke "$W" "$o" '\200\377'
3|layers.2.mlp.up_proj.weight' is NaN or infinite at element 49151|NaN at the end|poke "$W" $((o + 98302)) '\377\377'
END

# a model of another type with one bad weight in its final norm
typed() { # TYPE OCTAL BYTE
    "$B/synth-model" --dtype "$1" --force -o "$D" && extract -o "$T/typed.json" "$D" &&
        poke "$W" $(($(tensor "$T/typed.json" model.language_model.norm.weight offset) + $3)) "$2"
}
while IFS='|' read -r code part name action; do
    row "$code" "$part" "$name" "rm -r \"\$D\" && $action"
done <<'END'
3|norm.weight' is NaN or infinite at element 3|NaN in fp32|typed f32 '\001\000\200\177' 12
3|norm.weight' is NaN or infinite at element 127|infinity in fp32|typed f32 '\000\000\200\377' 508
3|norm.weight' is NaN or infinite at element 3|NaN in fp16|typed f16 '\001\174' 6
3|norm.weight' is NaN or infinite at element 127|infinity in fp16|typed f16 '\000\374' 254
END

shards() { rm -r "$D" && cp -r "$T/sharded" "$D"; }
while IFS='|' read -r code part name action; do
    row "$code" "$part" "$name" "shards && $action"
done <<'END'
1|shard 2 of 3: cannot open|a missing shard|rm "$D/model-00002-of-00003.safetensors"
3|shard 2 of 3: |a cut shard|head -c 9999 "$T/sharded/model-00002-of-00003.safetensors" >"$D/model-00002-of-00003.safetensors"
3|tensor 'lm_head.weight' is not in|a tensor in another shard|edit "$I" '/lm_head/s/model-0000[0-9]/model-00003/'
3|is in '/etc/passwd', which is not a file name in this directory|an absolute shard|edit "$I" '/lm_head/s/model-[0-9a-z.-]*/\/etc\/passwd/'
3|is in '../x', which is not a file name|an escaping shard|edit "$I" '/lm_head/s/model-[0-9a-z.-]*/..\/x/'
3|is in '..', which is not a file name|the parent directory|edit "$I" '/lm_head/s/model-[0-9a-z.-]*/../'
3|is in 'sub/x', which is not a file name|a shard in a directory|edit "$I" '/lm_head/s/model-[0-9a-z.-]*/sub\/x/'
3|is in '', which is not a file name|a shard without a name|edit "$I" '/lm_head/s/model-[0-9a-z.-]*//'
3|is in '', which is not a file name|a shard that is a number|edit "$I" '/lm_head/s/"model-[0-9a-z.-]*"/7/'
3|missing key 'weight_map'|an index without a map|echo '{}' >"$I"
3|'weight_map' must be an object|a map that is a list|echo '{"weight_map": []}' >"$I"
3|'weight_map' is empty|an empty map|echo '{"weight_map": {}}' >"$I"
3|not valid JSON|an index that is no JSON|echo '{' >"$I"
3|tensor 'lm_head.weight' is missing|a tensor left out of the index|edit "$I" '/lm_head/d'
3|element type|an FP8 shard|edit "$D/model-00002-of-00003.safetensors" 's/"BF16"/"F8E4"/'
END

options="--materialize $D"
row 2 'holds another model; give a directory of its own' '--materialize over the source' :
cmp -s "$M/model.safetensors" "$W" && cmp -s "$M/config.json" "$C"
report $? 'which is untouched'
options="--materialize $T/plain.json/x"
row 1 'cannot make directory' '--materialize under a file' :
options=
if [ "$(id -u)" -eq 0 ]; then
    report 0 'no permission # SKIP root may read everything'
else
    row 1 'Permission denied' 'no permission' 'chmod 000 "$W"'
fi

# ---- usage
usage() { # CODE PART NAME ARGS...
    code=$1 part=$2 name=$3
    shift 3
    extract "$@" >"$T/stdout" 2>"$T/stderr"
    [ $? -eq "$code" ] && grep -qF -e "$part" "$T/stderr"
    report $? "$name"
}
usage 2 'missing model directory' 'no operand'
usage 2 "unexpected argument 'b'" 'two operands' a b
usage 2 "unknown option '--frob'" 'unknown option' --frob "$M"
usage 2 'wants a whole number from 0 to 256' 'too many threads' -j 1000 "$M"
usage 1 'cannot write' 'an output that is a directory' -o "$T" "$M"

bad_name=$T/$(printf 'a\377b')
cp -r "$M" "$bad_name" 2>/dev/null && usage 2 'is not UTF-8, lm.json cannot hold it' 'a path that is not UTF-8' "$bad_name"

# ---- outputs that fail
(extract "$M" >/dev/full) 2>"$T/stderr"
[ $? -eq 1 ] && grep -q "cannot write 'standard output': No space left" "$T/stderr"
report $? 'standard output is full'
# a file size limit of the shell is a full disk without root: writes fail where the signal is ignored
(trap '' XFSZ && ulimit -f 8 && extract -o "$T/full.json" "$M") 2>"$T/stderr"
[ $? -eq 1 ] && grep -q "cannot write '$T/full.json': File too large" "$T/stderr" && [ ! -e "$T/full.json" ] &&
    [ ! -e "$T/full.json.tmp" ]
report $? 'a full disk leaves no lm.json'
(trap '' XFSZ && ulimit -f 900 && extract -o "$T/full.json" --materialize "$T/full" "$M") 2>"$T/stderr"
[ $? -eq 1 ] && grep -q "cannot write '$T/full/model.safetensors': File too large" "$T/stderr" &&
    [ -z "$(ls "$T/full")" ] && [ ! -e "$T/full.json" ]
report $? 'a full disk leaves no weights'
(trap '' XFSZ && ulimit -f 900 && "$B/synth-model" -o "$T/full") 2>"$T/stderr"
[ $? -eq 1 ] && grep -q "cannot write '$T/full/model.safetensors': File too large" "$T/stderr" &&
    [ -z "$(ls "$T/full")" ]
report $? 'synth-model neither'

# ---- killed runs: 150 MB, stopped as soon as its temporary file is there
killed() { # SIGNAL STATUS
    "$B/synth-model" --size tiny --set vocab_size=300000 --dtype f32 -j 1 -o "$T/killed" &
    pid=$!
    while [ ! -s "$T/killed/model.safetensors.tmp" ] && kill -0 $pid 2>/dev/null; do :; done
    kill "-$1" $pid 2>/dev/null
    wait $pid
    got=$?
    if [ $got -eq 0 ]; then
        report 0 "SIG$1 # SKIP it was done before the signal"
    else
        [ $got -eq "$2" ] && [ ! -e "$T/killed/model.safetensors" ] && [ ! -e "$T/killed/config.json" ]
        report $? "SIG$1 leaves no model"
    fi
}
killed TERM 143 2>/dev/null
[ -z "$(ls "$T/killed")" ]
report $? 'nor a temporary file'
killed KILL 137 2>/dev/null
"$B/synth-model" --force -o "$T/killed" && extract -o "$T/k.json" "$T/killed" && [ -z "$(find "$T/killed" -name "*tmp*")" ]
report $? 'the next run takes its place'

# ---- the help's example
example=$(extract --help | sed -n '/^example:/{n;s/^ *//p;}')
PATH=$B:$PATH eval "$example"
report $? "example: $example"

echo "1..$n"
exit $failed
