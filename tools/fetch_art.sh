#!/bin/sh
# Fetch local copies of the art collections, at the versions HoliSafe-Open was built from, into a folder.
# Usage: fetch_art.sh DIR
set -eu
out=${1:?usage: fetch_art.sh DIR}
mkdir -p "$out"
cd "$out"
fetch() { # name version: an npm package of icons, unpacked into a folder of its name
  [ -f "$1/icons.json" ] && return
  npm pack --silent "@iconify-json/$1@$2" >/dev/null
  mkdir -p "$1"
  tar xzf "iconify-json-$1-$2.tgz" -C "$1" --strip-components 1
  rm "iconify-json-$1-$2.tgz"
}
fetch noto 1.2.9
fetch game-icons 1.2.4
fetch healthicons 1.2.13
fetch fluent-emoji-flat 1.2.6
fetch twemoji 1.2.5
# only the embedded model's training uses these
fetch fluent-emoji-high-contrast 1.2.6
fetch emojione 1.2.3
fetch streamline-emojis 1.2.4
fetch mdi 1.2.3
fetch ph 1.2.2
fetch tabler 1.2.41
fetch fa6-solid 1.2.4
if [ ! -d openclipart ]; then
  mkdir deb
  (cd deb && apt-get download openclipart-svg >/dev/null && dpkg -x openclipart-svg_*.deb .)
  mv deb/usr/share/openclipart/svg openclipart
  rm -r deb
fi
# tells things one can draw from actions and ideas in the drawings' names
if [ ! -d wordnet ]; then
  mkdir deb
  (cd deb && apt-get download wordnet-base >/dev/null && dpkg -x wordnet-base_*.deb .)
  mkdir wordnet
  cp deb/usr/share/wordnet/index.noun deb/usr/share/wordnet/data.noun wordnet/
  rm -r deb
fi
echo "art is in $out"
