#!/bin/sh
# Lay a Triton server out below <target>: server/ from the wheel, environment/ with what models need.
#   install.sh <target>      (PYTHON names the interpreter, 3.11)
# The image and the tests both use this script, so that what is tested is what is shipped.
set -eu
target=$1
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-python3}
mkdir -p "$target"

"$python" -m venv "$target/environment"
pip="$target/environment/bin/python -m pip" # Debian's own python3 has none
$pip install --quiet --disable-pip-version-check --no-cache-dir \
    --require-hashes -r "$here/requirements.lock"

$pip install --quiet --disable-pip-version-check --no-cache-dir \
    --no-deps --no-compile --require-hashes --target "$target/wheel" -r "$here/server.lock"
mv "$target/wheel/pytriton/tritonserver" "$target/server"
# Programs and backends look for their libraries at ../../../nvidia_pytriton.libs and one level further up;
# LD_LIBRARY_PATH says the same without copying the depth of a package's directories.
mv "$target/wheel/nvidia_pytriton.libs" "$target/server/lib"

# The backend starts the stub that lies beside it, and only that of this Python is of use.
mv "$target/server/python_backend_stubs/3.11/triton_python_backend_stub" "$target/server/backends/python/"
rm -rf "$target/server/python_backend_stubs" "$target/wheel" "$target/server/lib"/libpython3-*.13.so*
rm -rf "$target/environment/lib/python3.11/site-packages"/pip* "$target/environment/lib/python3.11/site-packages"/setuptools*
