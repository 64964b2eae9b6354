#!/bin/sh
# Installs the packages of conf/packages.txt that are missing. Usage: sh conf/install-packages.sh
set -eu
list=$(dirname "$0")/packages.txt
wanted=$(sed 's/#.*//' "$list" | tr -s ' \n' ' ')
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "deps: this is no Debian or Ubuntu system; install what these packages hold:$wanted" >&2
    exit 1
fi
missing=
for p in $wanted; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)" = 'ii ' ] || missing="$missing $p"
done
if [ -z "$missing" ]; then
    echo "deps: everything is installed"
    exit 0
fi
sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "deps: run as root: apt-get install$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "deps: installing$missing"
# shellcheck disable=SC2086 # lists of words
{
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
echo "deps: done"
