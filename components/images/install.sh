#!/bin/sh
# Installs a folder of wheels into /opt/elysium, drops what a running program never reads, and compiles the rest.
# usage: install.sh FOLDER
set -eu
base="$(sed -n 's/^home = //p' /opt/elysium/pyvenv.cfg)/python3"
site=$(/opt/elysium/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
ls "$1"/*.whl > /dev/null 2>&1 || exit 0
before=$(mktemp)
"$base" -m pip --python /opt/elysium/bin/python install --quiet --disable-pip-version-check --root-user-action=ignore \
  --no-cache-dir --no-index --no-deps --no-compile "$1"/*.whl
cd "$site"
# Of torch: its own tests, headers and programs, for those who compile against it.
rm -rf torch/test torch/include torch/share/cmake torch/bin/protoc* torch/bin/test_* torch/bin/*_test \
  torch/lib/*_test.so torch/lib/libtorchbind_test.so torch/lib/libbackend_with_compiler.so
# Headers and tests of the others; of the caption metrics SPICE and a tokenizer in Java, which nothing here calls.
rm -rf pyarrow/include pyarrow/src pyarrow/tests numpy/_core/include pycocoevalcap/spice
for package in matplotlib networkx numpy pandas scipy sklearn spacy sympy thinc; do
  [ ! -d "$package" ] || find "$package" -type d -name tests -prune -exec rm -rf {} +
done
find . -name '*.a' -delete
# Bytecode halves the time that a step needs to start. It is never checked against its source: the image is read-only,
# so none is ever older. Of hundreds of model architectures a run imports two: those are compiled as they load. Some
# packages carry templates that are no Python; they stay as they are. What lower layers compiled is not written again.
find . -name '*.py' -cnewer "$before" -not -path './transformers/models/*' \
  | /opt/elysium/bin/python -m compileall -q -q -j 0 --invalidation-mode unchecked-hash -i - || true
rm -f "$before"
