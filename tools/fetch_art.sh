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
fetch bi 1.2.7
fetch carbon 1.2.29
fetch fluent 1.2.60
fetch fluent-color 1.2.21
fetch fxemoji 1.2.2
fetch hugeicons 1.2.35
fetch icon-park 1.2.4
fetch icon-park-solid 1.2.4
fetch iconoir 1.2.11
fetch ion 1.2.7
fetch lets-icons 1.2.2
fetch lucide 1.2.137
fetch maki 1.2.5
fetch material-symbols 1.2.98
fetch mingcute 1.2.8
fetch mynaui 1.2.19
fetch ri 1.2.10
fetch solar 1.2.13
fetch streamline 1.2.5
fetch streamline-color 1.2.2
fetch streamline-cyber-color 1.2.2
fetch streamline-flex 1.2.3
fetch streamline-flex-color 1.2.2
fetch streamline-kameleon-color 1.2.2
fetch streamline-plump 1.2.0
fetch streamline-plump-color 1.2.2
fetch streamline-sharp-color 1.2.2
fetch tdesign 1.2.19
fetch temaki 1.2.6
fetch emojione-monotone 1.2.1
if [ ! -d openclipart ]; then
  mkdir deb
  (cd deb && apt-get download openclipart-svg >/dev/null && dpkg -x openclipart-svg_*.deb .)
  mv deb/usr/share/openclipart/svg openclipart
  rm -r deb
fi
# photographs of the split `photo`
if [ ! -d photo ]; then
  mkdir deb photo.part
  (cd deb && apt-get download tuxpaint-stamps-default mate-backgrounds >/dev/null && for each in *.deb; do dpkg -x "$each" .; done)
  mv deb/usr/share/tuxpaint/stamps photo.part/tuxpaint
  mv deb/usr/share/backgrounds/mate/nature photo.part/mate
  rm -r deb
  python3 -m pip download -q --no-deps -d wheels scikit-image==0.26.0 scikit-learn==1.9.1
  for each in wheels/*.whl; do python3 -m zipfile -e "$each" wheels/; done
  mv wheels/skimage/data photo.part/skimage
  mv wheels/sklearn/datasets/images photo.part/sklearn
  rm -r wheels
  mv photo.part photo
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
