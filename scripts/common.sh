# shellcheck shell=bash
# What the commands of the Makefile share. Words go to stderr, except those of `make test`.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT" || exit 3
# shellcheck disable=SC2034
STATE=$ROOT/.wasmill
case ${CARGO_TARGET_DIR:-target} in
/*) TARGET_DIR=$CARGO_TARGET_DIR ;;
*) TARGET_DIR=$ROOT/${CARGO_TARGET_DIR:-target} ;;
esac
WASMILL=$TARGET_DIR/quick/wasmill

say() { printf '%s\n' "$*" >&2; }
die() { say "wasmill: $*"; exit 3; }

# `. .wasmill/env` leaves the addresses of `make up` in the shell; they are no wish of the user's.
if [ -n "${WASMILL_UP:-}" ]; then unset KAFKA_BROKERS POSTGRES_URL MONGODB_URL MONGODB_VOLUME_URL MONGODB_KIND; fi

has() { command -v "$1" >/dev/null; }

check_tools() {
  has cargo || die "cargo is missing: install Rust with rustup and open a new shell"
  local missing=()
  has cc || missing+=("a C compiler (cc)")
  has make || missing+=(make)
  FEATURES=()
  # librdkafka links OpenSSL; without its headers it is built from source, which takes Perl and two minutes more.
  if [ -z "${OPENSSL_DIR:-}" ] && ! pkg-config --exists openssl 2>/dev/null; then
    FEATURES=(--features wasmill/vendored-ssl)
    has perl || missing+=(perl)
  fi
  [ ${#missing[@]} = 0 ] || die "missing: ${missing[*]}. On Debian or Ubuntu: apt-get install build-essential perl"
}

build_host() { # cargo arguments
  # Within `make test` everything is built already, and another selection of crates would build the dependencies anew.
  if [ -n "${WASMILL_TEST_SERVICES:-}" ] && [ -x "$WASMILL" ]; then return; fi
  [ -x "$WASMILL" ] || say "building wasmill: about ten minutes on two cores, the first time only"
  cargo build --profile quick -p wasmill "${FEATURES[@]}" "$@" || die "the build failed: see above"
}

build_module() { # crate directory
  "$WASMILL" build "$1" -o "$2" || die "building $1 failed: see above"
}

export_lines() { # file of KEY=VALUE lines
  local line
  while IFS= read -r line; do export "${line?}"; done <"$1"
}
