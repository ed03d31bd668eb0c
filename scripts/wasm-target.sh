#!/usr/bin/env bash
# Finds or prepares a Rust toolchain that can build wasm32-unknown-unknown, from any directory or piped into bash.
#   wasm-target.sh --env    prints the environment for cargo as KEY=VALUE lines (none where plain cargo will do)
# WASMILL_WASM_TOOLCHAIN = rustup   only `rustup target add`
#                          debian   only the private toolchain made of Debian's rustc-web; nothing is installed
#                          (unset)  rustup, and where that fails Debian's
# WASMILL_WASM_CACHE     = where the private toolchain lives (default ~/.cache/wasmill/wasm-toolchain, about 480 MB)
set -euo pipefail

TARGET=wasm32-unknown-unknown
MODE=${WASMILL_WASM_TOOLCHAIN:-auto}
CACHE=${WASMILL_WASM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wasmill/wasm-toolchain}
USR=$CACHE/root/usr

say() { echo "wasm-target: $*" >&2; }
die() { say "$*"; exit 3; }

has_std() { # compiler
  local dir
  dir=$("$1" --print target-libdir --target "$TARGET" 2>/dev/null) && compgen -G "$dir/libcore-*.rlib" >/dev/null
}

add_by_rustup() {
  command -v rustup >/dev/null || return 1
  say "adding $TARGET to the active toolchain: rustup target add $TARGET"
  timeout 300 rustup target add "$TARGET" >&2 && has_std rustc
}

complete() { [ -e "$CACHE/.complete" ] && has_std "$CACHE/rustc" && link_linker; }

# Private package lists where the system has none: works without root and changes nothing outside the cache.
APT=(-o APT::Sandbox::User=root)
candidate() { apt-cache "${APT[@]}" policy "$1" | sed -n 's/.*Candidate: *\([^(].*\)/\1/p'; }
depends() { apt-cache "${APT[@]}" depends "$1" | sed -n "s/.*Depends: \($2\)\$/\1/p" | head -1; }

find_packages() {
  { command -v apt-get && command -v dpkg-deb; } >/dev/null ||
    die "no standard library for $TARGET, and this is no Debian system: run rustup target add $TARGET"
  if [ -z "$(candidate rustc-web)" ]; then
    say "reading Debian's package lists"
    mkdir -p "$CACHE/apt/lists/partial" "$CACHE/apt/archives/partial"
    APT+=(-o "Dir::State::Lists=$CACHE/apt/lists" -o "Dir::Cache=$CACHE/apt")
    apt-get "${APT[@]}" -qq update >&2 || die "apt-get update failed: see above"
  fi
  VERSION=$(candidate rustc-web)
  [ -n "$VERSION" ] || die "Debian's rustc-web is not in the package lists: run rustup target add $TARGET"
  RUNTIME=$(depends "libstd-rust-web-dev=$VERSION" 'libstd-rust-web-[0-9.]*')
  LLVM=$(depends "$RUNTIME=$VERSION" 'libllvm[0-9]*')
}

unpack() { # packages
  rm -rf "$CACHE/debs" && mkdir -p "$CACHE/debs" "$CACHE/root"
  (cd "$CACHE/debs" && apt-get "${APT[@]}" -qq download "$@" >&2) || die "apt-get download $* failed: see above"
  local deb
  for deb in "$CACHE"/debs/*.deb; do dpkg-deb -x "$deb" "$CACHE/root"; done
  rm -rf "$CACHE/debs"
}

# Libraries of LLVM that a slim image lacks.
unpack_missing_libraries() {
  ldd_of_rustc() { LD_LIBRARY_PATH=$LIBS ldd "$USR/bin/rustc" | grep 'not found'; }
  ldd_of_rustc >/dev/null || return 0
  local all
  mapfile -t all < <(apt-cache "${APT[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "$LLVM" | grep '^[a-z]' | grep -Ev "^(libc6|libgcc-s1|gcc-[0-9]+-base|libcrypt1|$LLVM)\$" | sort -u)
  unpack "${all[@]}"
  ! ldd_of_rustc >&2 || die "Debian's rustc-web lacks the libraries above: run rustup target add $TARGET"
}

write_compiler() {
  # RUSTC is always given with its full path.
  cat >"$CACHE/rustc" <<SH
#!/bin/sh
here=\${0%/*}
LD_LIBRARY_PATH=\$here/root/usr/lib/${LIBS##*/}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH} exec "\$here/root/usr/bin/rustc" "\$@"
SH
  chmod +x "$CACHE/rustc"
}

# The linker stays rustup's (a link, so that it finds its own libraries), else Debian's.
link_linker() {
  local host bin
  host=$("$CACHE/rustc" -vV | sed -n 's/^host: //p')
  bin=$USR/lib/rustlib/$host/bin
  [ -x "$bin/rust-lld" ] && return
  local found
  found=$(compgen -G "${RUSTUP_HOME:-$HOME/.rustup}/toolchains/*/lib/rustlib/$host/bin/rust-lld" | tail -1 || true)
  found=${found:-$(command -v wasm-ld || compgen -G '/usr/bin/wasm-ld-*' | tail -1 || true)}
  [ -n "$found" ] || die "no rust-lld and no wasm-ld found: apt-get install lld"
  mkdir -p "$bin" && ln -sfn "$found" "$bin/rust-lld"
}

# Built once and put in place, so that later builds need no unstable flag. Bitcode, because guests use fat LTO.
build_std() {
  local work=$CACHE/std lib=$USR/lib/rustlib/$TARGET/lib
  rm -rf "$work" && mkdir -p "$work/src" "$lib"
  cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "mkstd"
version = "0.0.0"
edition = "2021"
[profile.release]
panic = "abort"
[workspace]
TOML
  : >"$work/src/lib.rs"
  (cd "$work" && env -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER -u CARGO_BUILD_TARGET \
    ${ACTIVE:+RUSTUP_TOOLCHAIN="$ACTIVE"} RUSTC_BOOTSTRAP=1 RUSTC="$CACHE/rustc" RUSTFLAGS=-Cembed-bitcode=yes \
    CARGO_TARGET_DIR="$work/target" cargo build -q --release --target "$TARGET" -Zbuild-std=std,panic_abort >&2) ||
    die "building the standard library for $TARGET failed: see above"
  find "$work/target/$TARGET/release/deps" -name '*.rlib' ! -name 'libmkstd*' -exec cp {} "$lib/" \;
  rm -rf "$work"
}

prepare() {
  find_packages
  say "preparing Debian's rustc-web $VERSION in $CACHE (once, a few minutes, 480 MB)"
  rm -rf "$CACHE/root"
  unpack "rustc-web=$VERSION" "libstd-rust-web-dev=$VERSION" "$RUNTIME=$VERSION" "rust-web-src=$VERSION" "$LLVM"
  LIBS=$(dirname "$(compgen -G "$USR/lib/*-linux-gnu*/libLLVM*" | head -1)")
  unpack_missing_libraries
  write_compiler
  link_linker
  build_std
  rm -rf "$USR/src" "$USR/share" "$CACHE/apt"
  touch "$CACHE/.complete"
}

debian() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/.lock"
  flock -w 1800 9 || die "another process has been preparing $CACHE for half an hour; end it or remove $CACHE/.lock"
  complete || prepare
  flock -u 9
  printf 'RUSTC=%s\n' "$CACHE/rustc"
  [ -z "$ACTIVE" ] || printf 'RUSTUP_TOOLCHAIN=%s\n' "$ACTIVE"
}

main() {
  [ "${1:-}" = --env ] || { say "usage: wasm-target.sh --env"; exit 2; }
  command -v cargo >/dev/null || die "cargo was not found: install Rust from https://rustup.rs"
  # The linker and cargo stay those of the directory this was started in, wherever cargo runs next.
  ACTIVE=$(rustup show active-toolchain 2>/dev/null | cut -d' ' -f1 || true)
  case $MODE in
  rustup) has_std rustc || add_by_rustup || die "rustup target add $TARGET failed: see above" ;;
  debian) has_std rustc || debian ;;
  auto) has_std rustc || { [ -e "$CACHE/.complete" ] && debian; } || add_by_rustup || debian ;;
  *) die "WASMILL_WASM_TOOLCHAIN=$MODE is unknown: use rustup or debian" ;;
  esac
}

# One line after everything is read: the text may come through stdin, which no command in here may take.
main "$@" </dev/null
