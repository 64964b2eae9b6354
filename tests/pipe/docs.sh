#!/bin/sh
# Every command of docs/ in a block of sh runs, prints something, and has nothing to complain of; every file and schema
# that docs/files.md and every pair that docs/precision-pairs.md names is there.
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
mkdir "$tmp/bin" || exit 1
# the commands say make: it is the one of this build
{
    echo '#!/bin/sh'
    echo "exec ${QSENS_MAKE:-make MODE=${build##*/}} \"\$@\""
} >"$tmp/bin/make"
chmod +x "$tmp/bin/make"
real_make=$(command -v make)
sed -i "s|^exec make|exec $real_make|" "$tmp/bin/make"
for doc in docs/*.md; do
    awk '/^```/ { inside = !inside && /^```sh/; next } inside' "$doc" >"$tmp/commands"
    [ -s "$tmp/commands" ]
    report $? "$doc has commands"
    while read -r command; do
        (cd "$tree" && PATH=$tmp/bin:$PATH sh -c "$command") >"$tmp/out" 2>"$tmp/err" </dev/null && [ ! -s "$tmp/err" ]
        report $? "$doc: $command"
    done <"$tmp/commands"
done
for pair in conf/quant_pair/*.yaml; do
    name=$(basename "$pair" .yaml)
    config=$(sed -n 's/^modelopt_config: *\([A-Z0-9_]*\).*/\1/p' "$pair")
    grep -q "^|.*\`$name\`.*\`$config\`" docs/precision-pairs.md
    report $? "docs/precision-pairs.md: $name is $config"
done
for granularity in conf/quant_granularity/*.yaml; do
    name=$(basename "$granularity" .yaml)
    [ "$name" = default ] || grep -q "\`$name\`" docs/precision-pairs.md
    report $? "docs/precision-pairs.md: $name"
done
for schema in conf/schema/*.json; do
    grep -q "\`$schema\`" docs/files.md
    report $? "docs/files.md: $schema"
done
run=$tree/tmp/run/tiny_qwen3_vl
for file in lm.json sensitivity-index.json sensitivity-index.md; do
    grep -q "${file%.*}" docs/files.md && [ -f "$run/$file" ]
    report $? "docs/files.md: $file"
done
for file in "$run"/sample_captions-n16/fp4_fp8/default/*.json \
    "$run"/sample_captions-n16/fp4_fp8/default/*.safetensors; do
    name=$(basename "$file")
    grep -q "${name#wfp4_afp8_autoquant_lm}" docs/files.md || grep -q "${name%.json}" docs/files.md
    report $? "docs/files.md: $name"
done
# the tensors of the binary files, as documented
for path in "$run"/sample_captions-n16/calib.safetensors \
    "$run"/sample_captions-n16/fp4_fp8/default/records.safetensors; do
    length=$(od -An -tu8 -N8 "$path" | tr -d ' ')
    for tensor in $(tail -c +9 "$path" | head -c "$length" | jq -r 'keys[] | select(. != "__metadata__")'); do
        grep -q "^|.*\`$tensor\`" docs/files.md
        report $? "docs/files.md: $tensor of ${path##*/}"
    done
done
echo "1..$n"
