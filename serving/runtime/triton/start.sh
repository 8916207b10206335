#!/bin/sh
# Start Triton for one pod. The volume at GYRE_MODEL_ROOT (/models) was filled by `gyre-serving fetch`.
# More arguments go to tritonserver and come last, so they win.
set -eu
home=${GYRE_TRITON_HOME:-/opt/triton}
root=${GYRE_MODEL_ROOT:-/models}

fail() {
    printf '{"schema":"gyre.failure.v1","reason":"ModelDoesNotLoad","message":"%s","tail":[],"exitCode":64}' "$1" \
        >"${GYRE_TERMINATION_LOG:-/dev/termination-log}" 2>/dev/null || true
    echo "ModelDoesNotLoad: $1" >&2
    exit 64
}

[ -r "$root/triton.key" ] || fail "$root/triton.key cannot be read; run 'gyre-serving fetch' on the same volume first"
[ -d "$root/repository" ] || fail "$root/repository is missing; run 'gyre-serving fetch' on the same volume first"
# Triton aborts in the middle of a load without either of these.
[ -w "${TMPDIR:-/tmp}" ] || fail "${TMPDIR:-/tmp} cannot be written; mount an emptyDir there"
[ -w /dev/shm ] || fail "/dev/shm cannot be written; mount an emptyDir with medium Memory there"

# The Python backend takes the first python3 on PATH as its environment; PYTHONPATH and PYTHONHOME it ignores.
export PATH="$home/environment/bin:$PATH"
export LD_LIBRARY_PATH="$home/server/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONDONTWRITEBYTECODE=1
# onnxruntime reports to its maker unless told otherwise before its import.
export ORT_DISABLE_TELEMETRY=1

# Whoever reaches port 8000 may ask for predictions, health and metadata. What changes the server (loading models,
# shared memory, tracing, logging) wants the key that only the containers of this pod can read.
exec "$home/server/bin/tritonserver" \
    --model-repository="$root/repository" \
    --backend-directory="$home/server/backends" \
    --cache-directory="$home/server/caches" \
    --model-control-mode=explicit \
    --disable-auto-complete-config \
    --strict-readiness=false \
    --exit-timeout-secs=25 \
    --http-port=8000 \
    --http-restricted-api="model-repository,model-config,shared-memory,trace,logging,statistics:gyre-admin=$(cat "$root/triton.key")" \
    --allow-grpc=false \
    --metrics-port=8002 \
    --allow-gpu-metrics=false \
    --backend-config=python,shm-default-byte-size=4194304 \
    "$@"
