#!/usr/bin/env bash
# image-root.sh PROGRAM MODULE DIR: the root of the image, of the files of this Debian: the program, the C library and
# what else it is linked to, certificates, a user. No shell, no package manager: nothing that could be run instead.
set -euo pipefail
[ $# = 3 ] || { echo "usage: image-root.sh PROGRAM MODULE DIR" >&2; exit 2; }
PROGRAM=$1 MODULE=$2 DIR=$3
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
[ -s "$CERTIFICATES" ] || { echo "image-root: $CERTIFICATES is missing: apt-get install ca-certificates" >&2; exit 3; }
mkdir -p "$DIR"/{etc/ssl/certs,usr/local/bin,usr/share/wasmill,modules}
install -m 755 "$PROGRAM" "$DIR/usr/local/bin/wasmill"
install -m 644 "$MODULE" "$DIR/usr/share/wasmill/quotes.wasm"
install -m 644 "$CERTIFICATES" "$DIR$CERTIFICATES"
# The libraries that the loader finds, and the loader itself, under their own names.
ldd "$PROGRAM" | awk '/=> \// { print $3 } /^[[:space:]]*\// { print $1 }' | while read -r library; do
  mkdir -p "$DIR$(dirname "$library")"
  cp -L "$library" "$DIR$library"
done
# Names are looked up in /etc/hosts and by DNS; both are within this C library.
echo 'hosts: files dns' >"$DIR/etc/nsswitch.conf"
echo 'wasmill:x:65532:65532:wasmill:/nonexistent:/nonexistent' >"$DIR/etc/passwd"
echo 'wasmill:x:65532:' >"$DIR/etc/group"
mkdir -m 1777 "$DIR/tmp"
chmod 755 "$DIR" "$DIR/modules"
if [ "$(id -u)" = 0 ]; then chown 65532:65532 "$DIR/modules"; fi
