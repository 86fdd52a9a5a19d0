# shellcheck shell=bash
# What the benchmarks need, to be sourced at the root of the repository: `need`, and `prepare` with the
# Python packages that are wanted beside gRPC. Then `python` runs with the API and these folders at hand.
tools=$PWD/target/tools

# usage: need COMMAND DEBIAN_PACKAGE
need() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $2" >&2
    # A server is not to be started by being installed.
    if ! { apt-get update -qq && RUNLEVEL=1 apt-get install -qq --yes --no-install-recommends "$2"; } >&2; then
      echo "$2 could not be installed" >&2
    fi
  fi
  command -v "$1" >/dev/null || { echo "$1 is missing: apt-get install $2, or its like" >&2; exit 1; }
}

prepare() {
  need python3 python3-venv
  [ -x "$tools/python/bin/python" ] || python3 -m venv "$tools/python"
  "$tools/python/bin/pip" install --quiet --disable-pip-version-check grpcio-tools grpcio-status "$@"
  mkdir -p target/benches/api
  (cd proto && "$tools/python/bin/python" -m grpc_tools.protoc -I . --python_out=../target/benches/api \
    --grpc_python_out=../target/benches/api portbook/v1/*.proto)
  export PYTHONPATH=target/benches/api:benches/common PYTHONDONTWRITEBYTECODE=1
}

python() { "$tools/python/bin/python" "$@"; }
