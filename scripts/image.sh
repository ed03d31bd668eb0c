#!/usr/bin/env bash
# make image: the images `wasmill` and `wasmill-modules` (the module quotes, for docker-compose.yml), by host/Dockerfile.
#   image.sh                    all of it, the compiler too in a container
#   image.sh PROGRAM MODULE     of a program and the module quotes that were built on a Debian 12 before: the first stage of
#                               host/Dockerfile, which compiles them, is left out; the stages after it are taken as they are
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
FILE=$ROOT/host/Dockerfile

if [ $# = 0 ]; then
  docker build -t wasmill-modules --target modules -f "$FILE" "$ROOT"
  exec docker build -t wasmill -f "$FILE" "$ROOT"
fi
[ $# = 2 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
CONTEXT=$(mktemp -d "${TMPDIR:-/tmp}/wasmill-image.XXXXXX")
trap 'rm -rf "$CONTEXT"' EXIT
# As the stage `build` does it.
mkdir "$CONTEXT/out"
strip -o "$CONTEXT/out/wasmill" "$1"
cp "$2" "$CONTEXT/out/quotes.wasm"
"$ROOT/scripts/image-root.sh" "$CONTEXT/out/wasmill" "$CONTEXT/out/quotes.wasm" "$CONTEXT/out/root"
rm "$CONTEXT/out/wasmill"
{
  printf 'FROM scratch AS build\nCOPY out /out\n'
  awk '/^FROM / { stage++ } stage > 1' "$FILE"
} >"$CONTEXT/Dockerfile"
docker build -q -t wasmill-modules --target modules "$CONTEXT"
docker build -q -t wasmill "$CONTEXT"
