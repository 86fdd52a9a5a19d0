# shellcheck shell=bash
# Functions that prepare a benchmark, to be sourced at the root of the repository: `help_if_requested`, `need`, and
# `prepare` with the Python packages needed in addition to gRPC. Then `python` runs with the API in its path.
tools=$PWD/target/tools

# usage: help_if_requested SCRIPT "$@"    prints the comment at the start of the script
help_if_requested() {
  case ${2:-} in
    -h | --help) awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$1"; exit ;;
  esac
}

# usage: need COMMAND DEBIAN_PACKAGE [--unpack]    --unpack: do not install a package that would start a service
need() {
  export PATH=$PATH:$tools/debian/usr/bin
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $2" >&2
    apt-get update -qq >&2 || true
    if [ "${3:-}" = --unpack ]; then
      mkdir -p "$tools/debian"
      (cd "$tools/debian" && apt-get download -qq "$2" && dpkg-deb -x "$2"_*.deb . && rm "$2"_*.deb) >&2 || true
    else
      apt-get install -qq --yes --no-install-recommends "$2" >&2 || true
    fi
  fi
  command -v "$1" >/dev/null || { echo "$1 is missing: install Debian's package $2" >&2; exit 1; }
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
