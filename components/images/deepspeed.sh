#!/bin/sh
# Builds DeepSpeed's wheel with the extensions that training through elysium loads, so that no pod needs a compiler:
# Adam on the CPU (offload); without a GPU also sums over shared memory within a node and pinned memory.
# usage: deepspeed.sh FOLDER, in a folder with deepspeed.txt, its pins; CPU_ARCH says which processors it must run on
set -eu
base="$(sed -n 's/^home = //p' /opt/elysium/pyvenv.cfg)/python3"
# An environment of its own sees the torch that the extensions are built against; what building needs stays in it.
"$base" -m venv --without-pip /opt/build
site='import sysconfig; print(sysconfig.get_path("purelib"))'
/opt/elysium/bin/python -c "$site" > "$(/opt/build/bin/python -c "$site")/elysium.pth"
pip="$base -m pip --python /opt/build/bin/python --disable-pip-version-check"
$pip install --quiet --no-cache-dir --root-user-action=ignore --constraint deepspeed.txt \
  setuptools wheel ninja py-cpuinfo psutil hjson einops msgpack pydantic tqdm
$pip download --quiet --no-deps --no-binary :all: --no-build-isolation --no-cache-dir --constraint deepspeed.txt \
  --dest source deepspeed
tar -C source -xzf source/deepspeed-*.tar.gz --strip-components 1
cd source
# Its own choice is the machine that builds (-march=native): "illegal instruction" on an older node.
sed -i "s/-march=native/-march=${CPU_ARCH}/; s/-D__AVX512__/-D__AVX256__/" op_builder/builder.py
# An extension serves the kind of device it was built for.
DS_ACCELERATOR=$(/opt/build/bin/python -c 'import torch; print("cuda" if torch.version.cuda else "cpu")')
export DS_ACCELERATOR DS_BUILD_CPU_ADAM=1
# Without symbols for a debugger: 64 MB less.
export LDFLAGS=-s
[ "$DS_ACCELERATOR" = cuda ] || export DS_BUILD_SHM_COMM=1 DS_BUILD_PIN_MEMORY=1
mkdir -p "$1"
$pip wheel --quiet --no-deps --no-build-isolation --no-cache-dir --wheel-dir "$1" .
ls "$1"/deepspeed-*.whl
