#!/usr/bin/env sh
# Build wheel and sdist of both distributions, check the core's size, and use them in a bare environment outside the checkout.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
dist="$root/build/dist"
rm -rf "$dist" && mkdir -p "$dist"
"$python" -m build --outdir "$dist" "$root" >"$dist/build.log" 2>&1 || { tail -20 "$dist/build.log"; exit 1; }
"$python" -m build --outdir "$dist" "$root/packages/holisafe-assets" >>"$dist/build.log" 2>&1 || { tail -20 "$dist/build.log"; exit 1; }
core=$(ls "$dist"/holisafe-[0-9]*.whl)
size=$(wc -c <"$core")
echo "core wheel: $size bytes; assets wheel: $(wc -c <"$(ls "$dist"/holisafe_assets-*.whl)") bytes"
[ "$size" -le 2097152 ] || { echo "the core wheel is larger than 2 MiB"; exit 1; }
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
cd "$away"
for kind in whl tar.gz; do
  "$python" -m venv "$away/env-$kind"
  bin="$away/env-$kind/bin"
  case $kind in
    whl) "$bin/python" -m pip install -q --disable-pip-version-check -c "$root/constraints.txt" "$core" ;;
    tar.gz) "$bin/python" -m pip install -q --disable-pip-version-check -c "$root/constraints.txt" "$dist"/holisafe-[0-9]*.tar.gz ;;
  esac
  if "$bin/holisafe" data list --json >listed.json; then :; else echo "data list failed"; exit 1; fi
  if "$bin/holisafe" data show open >missing.txt 2>&1; then echo "open was found without its assets"; exit 1; fi
  grep -q "pip install 'holisafe\[demo\]'" missing.txt || { cat missing.txt; exit 1; }
  case $kind in
    whl) "$bin/python" -m pip install -q --disable-pip-version-check --no-deps "$dist"/holisafe_assets-*.whl ;;
    tar.gz) "$bin/python" -m pip install -q --disable-pip-version-check --no-deps "$dist"/holisafe_assets-*.tar.gz ;;
  esac
  "$bin/holisafe" data stats open --split test --json >stats.json
  echo "$kind: installed and used outside the checkout"
done
