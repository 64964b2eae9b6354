#!/bin/sh
# calib-pack as a user meets it: outputs, exit codes, messages. Run from the top of the repository.
set -u
build=$(cd "${QSENS_BUILD_DIR:-tmp/build/release}" && pwd)
PATH=$build:$PATH
model=models/tiny_qwen3_vl
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
n=0
failed=0

ok() { # RESULT NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; fi
}

# run CODE NAME PART COMMAND...: exact exit code; PART is in what stdout and stderr say together
run() {
    want=$1 name=$2 part=$3
    shift 3
    "$@" >"$dir/out" 2>&1
    code=$?
    test "$code" -eq "$want" && grep -qF -e "$part" "$dir/out"
    result=$?
    ok $result "$name"
    test $result -eq 0 || sed "s/^/# exit $code: /" "$dir/out"
}

printf 'A man rides a wave.\n\n  two  \r\nthree\rfour' >"$dir/four.txt"
printf 'good\n\nbad \377\n' >"$dir/bad.txt"
printf 'a\nb<|video_pad|>c\n' >"$dir/special.txt"
: >"$dir/empty.txt"

run 0 "help" "usage: calib-pack" calib-pack --help
calib-pack --help | grep -q '\[512\]' && ! calib-pack --help | grep -q -e '-9223372036854775808'
ok $? "help shows defaults, and none where there is none"
example=$(calib-pack --help | sed -n '/^example:/{n;s/^  //;p;}')
got=$(sh -c "$example")
test "$got" = '[32, 308, 1521, 256, 1044, 13]'
ok $? "the example of the help works"

run 0 "--print-ids" '[32, 308, 1521, 256, 1044, 13]' calib-pack -m $model --print-ids "$dir/four.txt"
test "$(wc -l <"$dir/out")" -eq 4
ok $? "--print-ids prints all captions, one a line"
run 0 "--print-ids with -n" '[32, 308, 1521, 256, 1044, 13]' calib-pack -m $model --print-ids -n 1 "$dir/four.txt"
test "$(wc -l <"$dir/out")" -eq 1
ok $? "-n limits it"
run 0 "--print-ids does not cut" '[32, 308, 1521, 256, 1044, 13]' calib-pack -m $model -l 2 --print-ids "$dir/four.txt"
run 0 "--print-ids needs only the tokenizer" '[32,' calib-pack -t $model/tokenizer.json --print-ids "$dir/four.txt"
calib-pack -m $model --print-ids - <"$dir/four.txt" >"$dir/stdin.ids" &&
    calib-pack -m $model --print-ids "$dir/four.txt" | cmp -s - "$dir/stdin.ids"
ok $? "standard input"

run 0 "pack" "4 sequences in 2 batches: 14 rows, 10 real tokens, 10 with loss; 2034 padding rows avoided (99.3 % of 2048)" \
    calib-pack -v -m $model -n 4 -b 3 "$dir/four.txt" -o "$dir/sub/c.safetensors"
calib-pack -m $model -n 4 -b 3 "$dir/four.txt" -o "$dir/again.safetensors" >"$dir/out" 2>&1 && test ! -s "$dir/out"
ok $? "pack without -v says nothing"
cmp -s "$dir/sub/c.safetensors" "$dir/again.safetensors" && test ! -e "$dir/again.safetensors.tmp"
ok $? "and writes the same bytes"
calib-pack -m $model -n 4 -b 3 "$dir/four.txt" -o - | cmp -s - "$dir/again.safetensors"
ok $? "-o - is standard output"
run 0 "padding none" "10 rows, 10 real tokens, 6 with loss" \
    calib-pack -v -p none -m $model -n 4 "$dir/four.txt" -o "$dir/none.safetensors"
run 0 "--tokenizer finds tokenizer_config.json beside it" "14 rows" \
    calib-pack -v -t $model/tokenizer.json -n 4 "$dir/four.txt" -o "$dir/t.safetensors"
run 0 "--pad-token" "14 rows" \
    calib-pack -v -t $model/tokenizer.json --pad-token '<|im_end|>' -n 4 "$dir/four.txt" -o "$dir/p.safetensors"
grep -q '"pad_id":"2042"' "$dir/p.safetensors"
ok $? "is the pad id in the file"
run 0 "--allow-short" "4 sequences" calib-pack -v --allow-short -m $model "$dir/four.txt" -o "$dir/s.safetensors"
run 0 "--vocab-size that fits" "4 sequences" \
    calib-pack -v -n 4 --vocab-size 2041 -m $model "$dir/four.txt" -o "$dir/s.safetensors"

rm -f "$dir/x"
run 2 "no operand" "missing captions file" calib-pack -m $model -o "$dir/x"
run 2 "no tokenizer" "give --model DIR or --tokenizer FILE" calib-pack "$dir/four.txt" -o "$dir/x"
run 2 "no output" "give -o" calib-pack -m $model "$dir/four.txt"
run 2 "both outputs" "leave -o out" calib-pack -m $model --print-ids "$dir/four.txt" -o "$dir/x"
run 2 "unknown padding" "'reference' or 'none'" calib-pack -m $model -p left "$dir/four.txt" -o "$dir/x"
run 2 "no samples" "from 1 to" calib-pack -m $model -n 0 "$dir/four.txt" -o "$dir/x"
run 2 "too few captions" "has 4 captions, 128 were asked for; --allow-short (with make: SET=" \
    calib-pack -m $model "$dir/four.txt" -o "$dir/x"
run 2 "unknown pad token" "no token 'nope'" calib-pack -m $model --pad-token nope -n 4 "$dir/four.txt" -o "$dir/x"
run 2 "pad token beyond the vocabulary" "the pad token has id 2040" \
    calib-pack -m $model --vocab-size 2040 -n 4 "$dir/four.txt" -o "$dir/x"
run 2 "id beyond the vocabulary" "the caption on line 2 has token id 2047, the vocabulary has 2045" \
    calib-pack -m $model --vocab-size 2045 -n 2 "$dir/special.txt" -o "$dir/x"
run 3 "captions that are not UTF-8" "line 3 is not UTF-8: byte 0xff at byte 10 of the file" \
    calib-pack -m $model -n 1 "$dir/bad.txt" -o "$dir/x"
run 3 "no captions" "holds no captions" calib-pack -m $model "$dir/empty.txt" -o "$dir/x"
run 3 "captions on standard input are named" "'standard input': holds no captions" \
    sh -c "calib-pack -m $model --print-ids - <$dir/empty.txt"
run 3 "a tokenizer that is none" "not valid JSON" calib-pack -t "$dir/four.txt" --print-ids "$dir/four.txt"
run 1 "missing model" "cannot open '/nonexistent/tokenizer.json'" calib-pack -m /nonexistent --print-ids "$dir/four.txt"
run 1 "missing captions" "cannot open '/nonexistent'" calib-pack -m $model /nonexistent -o "$dir/x"
cp $model/tokenizer.json "$dir/tokenizer.json"
run 1 "no tokenizer_config.json" "no pad token (name one with --pad-token)" \
    calib-pack -m "$dir" -n 4 "$dir/four.txt" -o "$dir/x"
run 1 "a full disk" "cannot write 'standard output'" sh -c "calib-pack -m $model --print-ids $dir/four.txt >/dev/full"
test ! -e "$dir/x" && test ! -e "$dir/x.tmp"
ok $? "no failed run left a file"

# ids of the reference run, where its results are at hand
golden=${QSENS_GOLDEN:-../shared/golden}
captions=$golden/../data/captions.txt
for size in 13 16 128 512; do
    ids=$golden/scores/n$size/token_ids.json
    n=$((n + 1))
    if [ ! -r "$ids" ] || [ ! -r "$captions" ]; then
        echo "ok $n - ids of $size captions # SKIP no golden results here"
        continue
    fi
    sed 's/^\[\[/[/; s/\]\]$/]/; s/\], \[/]\n[/g' "$ids" | grep . >"$dir/want"
    calib-pack -m $model --print-ids -n $size "$captions" >"$dir/got"
    if cmp -s "$dir/want" "$dir/got" && [ "$(wc -l <"$dir/got")" -eq $size ]; then
        echo "ok $n - ids of $size captions"
    else
        echo "not ok $n - ids of $size captions"
        failed=1
    fi
done
echo "1..$n"
exit $failed
