#!/bin/sh
# House rules that a machine can check, run by `make lint`: prints what breaks one, exits 1 if anything does.
LC_ALL=C
export LC_ALL
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
bad=0
# rule TEXT: what stands in $tmp/found breaks it
rule() {
    if [ -s "$tmp/found" ]; then
        echo "== $1"
        cat "$tmp/found"
        bad=1
    fi
}

git ls-files --cached --others --exclude-standard >"$tmp/files" 2>/dev/null || find . -type f ! -path './tmp/*' |
    sed 's|^\./||' >"$tmp/files"
grep -E '\.(c|h|cu)$' "$tmp/files" >"$tmp/c"
grep -E '(^|/)Makefile$|\.mk$' "$tmp/files" >"$tmp/make"
grep -E '\.sh$|^tests/pipe/scratch$|^\.ci/run$' "$tmp/files" >"$tmp/sh"
cat "$tmp/c" "$tmp/make" "$tmp/sh" >"$tmp/code"
grep -vE '^tests/fuzz/corpus/|^tests/fixtures/|^models/|\.(txt|safetensors)$' "$tmp/files" >"$tmp/text"
# found FILES PATTERN: the lines of these files that match
found() { tr '\n' '\0' <"$tmp/$1" | xargs -0 grep -nE -- "$2" /dev/null >"$tmp/found"; }

# ---- layers: LAYERS gives each module a line; includes of a later line, and modules without a line, are refused
for f in lib/*.[ch]; do sed -n "s|^#include \"\(.*\)\.[ch]\".*|$f \1|p; \$s|.*|$f|p" "$f"; done |
    awk 'FNR == NR { if (!/^#/) { if ($1 != last) level++; last = $1; for (i = 2; i <= NF; i++) at[$i] = level }; next }
         { m = $1; gsub(/^lib\/|\.[ch]$/, "", m)
           if (!(m in at)) print $1 ": is not in lib/LAYERS"
           else if (NF > 1 && at[$2] > at[m]) print $1 ": includes " $2 ".h of a higher layer"
           else if (NF > 1 && !($2 in at)) print $1 ": includes " $2 ".h, which is not in lib/LAYERS" }' lib/LAYERS - |
    sort -u >"$tmp/found"
rule 'includes go down the layers of lib/LAYERS'

# ---- headers
grep '\.h$' "$tmp/c" | grep -v cuda | while read -r h; do
    echo "#include \"${h##*/}\"" | ${CC:-cc} -Ilib -Itests -I"${h%/*}" -D_GNU_SOURCE -std=c11 -Wall -Wextra -Werror \
        -Wno-unused-function -fsyntax-only -x c - 2>&1 | grep -m 1 error: | sed "s|^|$h: |"
done >"$tmp/found"
rule 'a header compiles alone'

# ---- text
while read -r f; do
    lines=$(wc -l <"$f")
    [ "$lines" -le 600 ] || echo "$f: $lines lines"
done <"$tmp/code" >"$tmp/found"
rule 'no file over 600 lines'
tr '\n' '\0' <"$tmp/code" |
    xargs -0 awk '{ most = FILENAME ~ /^tests\/cli/ ? 170 : 120 }
                  length > most { print FILENAME ":" FNR ": " length " columns" }' >"$tmp/found"
rule 'no line over 120 columns (tables of command lines: 170)'
found code '[[:space:]]+$'
rule 'no blanks at the end of a line'
found c '	'
rule 'no tabs in C'
while read -r f; do [ ! -s "$f" ] || [ -z "$(tail -c 1 "$f")" ] || echo "$f"; done <"$tmp/code" >"$tmp/found"
rule 'a file ends with a newline'
found c '(^|[^A-Za-z0-9_])(atoi|atol|atof|gets|strcpy|strcat|sprintf|vsprintf|assert)\('
rule 'no atoi, strcpy, sprintf, assert and their like'
found c '__LINE__|-Ofast|fast-math'
rule 'no line numbers in the code of a program, no fast-math'
found make '^[^#]*(-Ofast|fast-math)'
rule 'no fast-math'
found text '(^|[^A-Za-z])(TO''DO|FIX''ME|HA''CK|XX''X)([^A-Za-z]|$)'
rule 'no notes of unfinished work'
found text '(^|[^A-Za-z0-9_.$}])/(home|root|work|Users|mnt|scratch)/([A-Za-ln-z0-9]|m[A-Za-df-z0-9])'
rule 'no paths of one machine'

# ---- scripts
while read -r f; do
    [ -x "$f" ] || case $f in tests/pipe/scratch | tests/lint.sh | conf/*) ;; *) echo "$f" ;; esac
done <"$tmp/sh" >"$tmp/found"
rule 'a script can be executed'
if command -v shellcheck >/dev/null; then
    tr '\n' '\0' <"$tmp/sh" | xargs -0 shellcheck -x -f gcc -S warning >"$tmp/found"
    rule 'shellcheck'
else
    echo 'lint: shellcheck is not installed, scripts are not checked'
fi
[ $bad = 1 ] || echo "lint: $(wc -l <"$tmp/code") files, nothing found"
exit $bad
