#!/bin/sh
# The commands of the README's first block run, and print the lines that it shows.
. tests/pipe/scratch
if [ ! -e README.md ]; then
    echo '1..0 # SKIP there is no README.md'
    exit 0
fi
tree=$tmp/tree
scratch_tree "$tree"
cd "$tree" || exit 1
# block N: the Nth fenced block
block() { awk -v n="$1" '/^```/ { if (!inside) k++; inside = !inside; next } inside && k == n' "$top/README.md"; }
[ "$(grep -m 1 '^```' "$top/README.md")" = '```sh' ] && block 1 | grep -q '^make '
report $? 'the first block holds commands of make'
mkdir "$tmp/bin" && printf '#!/bin/sh\nprintf "ii "\n' >"$tmp/bin/dpkg-query" && chmod +x "$tmp/bin/dpkg-query"
PATH=$tmp/bin:$PATH
unset BACKEND
block 1 | grep '^make ' >"$tmp/commands"
: >"$tmp/printed"
while read -r command; do
    command=${command%%#*}
    eval "set -- ${command#make}" && mk "$@" >"$tmp/out" 2>"$tmp/err" </dev/null && [ "$(wc -l <"$tmp/err")" = 1 ]
    report $? "$command"
    cat "$tmp/out" "$tmp/err" >>"$tmp/printed"
done <"$tmp/commands"
# the blocks that follow show output: its lines in capitals, and what auto says in a build without CUDA, are real ones
case $build in *-cuda) echo 'autoquant-score: backend cpu: built without CUDA' >>"$tmp/printed" ;; esac
for k in 2 3; do
    block $k | grep -E '^  [A-Z]+  |^autoquant-score: ' >"$tmp/shown"
    grep -vxFf "$tmp/printed" "$tmp/shown" >"$tmp/err"
    [ -s "$tmp/shown" ] && [ ! -s "$tmp/err" ]
    report $? "block $k shows what is printed"
done
echo "1..$n"
