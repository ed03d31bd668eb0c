#!/usr/bin/env bash
# A container engine for tests of the image: Debian's dockerd in a network of its own, so that it neither sees nor disturbs
# anything of this machine, and the images of docker-compose.yml, which no test can pull.
#   engine.sh up DIR       starts it, makes the images, writes DIR/env (DOCKER_HOST, ENGINE_PID and others) and prints it
#   engine.sh down DIR     ends it with all its containers and removes its data
# Needs root on Debian 12 and its packages, which are installed: docker.io, docker-compose, mmdebstrap. Exit code 4 where it
# cannot be had; DIR/why then says why.
# debian:bookworm-slim is made of Debian's packages once and kept in the cache. kafka, postgres and mongodb are stand-ins:
# the programs that tests/services runs otherwise, see stand-ins/.
set -euo pipefail
umask 022
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
COMPOSE_FILE_=$HERE/../../docker-compose.yml
SERVICES="kafka postgres mongo"
CACHE=${SERVICES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wasmill-services}
BASE=$CACHE/debian-bookworm-slim.tar

say() { printf '%s engine: %s\n' "$(date +%T)" "$*" >&2; }
die() { say "$*"; exit 3; }
want() { case " $SERVICES " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
none() { # why
  printf '%s\n' "$*" >"$RUN/why"
  say "no container engine: $*"
  exit 4
}

# shellcheck source=tests/services/processes.sh
. "$HERE/processes.sh"
# shellcheck source=tests/services/install.sh
. "$HERE/install.sh"
# shellcheck source=tests/services/compose.sh disable=SC2034
. "$HERE/compose.sh"

# shellcheck disable=SC1091
is_bookworm() { [ -r /etc/os-release ] && (. /etc/os-release && [ "${VERSION_CODENAME:-}" = bookworm ]); }

install_engine() {
  local missing=() pair
  [ "$(id -u)" = 0 ] || none "it needs root"
  # The image's C library is this machine's, and Debian's dockerd is the one that is known to work here.
  is_bookworm || none "this is no Debian 12"
  for pair in dockerd:docker.io docker:docker.io docker-compose:docker-compose iptables:iptables ip:iproute2 strip:binutils; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ -s "$BASE" ] || command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  [ ${#missing[@]} = 0 ] || (apt_without_starting "${missing[@]}") || none "apt-get install ${missing[*]} failed"
}

# The package of dockerd would start one for the whole machine.
apt_without_starting() {
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  apt_install "$@"
}

make_base() {
  [ -s "$BASE" ] && return
  say "making debian:bookworm-slim of Debian's packages (once, about a minute)"
  timeout 600 mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "${BASE%.tar}.part.tar" \
    >"$CACHE/mmdebstrap.log" 2>&1 || none "mmdebstrap failed, see $CACHE/mmdebstrap.log"
  mv "${BASE%.tar}.part.tar" "$BASE"
}

start_engine() {
  local sockets i
  # Paths of sockets may have 107 characters.
  sockets=$(mktemp -d /tmp/wasmill-engine.XXXXXX)
  echo "$sockets" >"$RUN/sockets"
  mkdir -p "$RUN/data" "$RUN/client"
  echo '{}' >"$RUN/daemon.json"
  export DOCKER_HOST=unix://$sockets/docker.sock DOCKER_CONFIG=$RUN/client DOCKER_BUILDKIT=0
  unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
  setsid unshare --net --mount sh -c 'ip link set lo up && exec dockerd "$@"' dockerd --config-file "$RUN/daemon.json" \
    --data-root "$RUN/data" --exec-root "$sockets/exec" -p "$sockets/pid" -H "$DOCKER_HOST" --shutdown-timeout 5 \
    </dev/null >"$RUN/dockerd.log" 2>&1 8>&- &
  record dockerd $! TERM
  ENGINE_PID=$!
  for ((i = 0; i < 150; i++)); do
    docker version >/dev/null 2>&1 && return
    kill -0 "$ENGINE_PID" 2>/dev/null || break
    sleep 0.2
  done
  none "dockerd does not start here: $(grep -v level=info "$RUN/dockerd.log" | tail -n 1)"
}

# The images of docker-compose.yml, of the programs that are on this machine; their folders are mounted when they start.
make_stand_ins() {
  local name
  docker import "$BASE" debian:bookworm-slim >/dev/null
  for name in kafka postgres mongodb; do
    docker build -q -t "$(compose_images "$name")" --target "$name" --build-arg PGBIN="$PGBIN" "$HERE/stand-ins" \
      >"$RUN/build.log" 2>&1 || none "the stand-in for $name could not be built: $(tail -n 1 "$RUN/build.log")"
  done
}

write_env() {
  local java java_etc
  java=$(readlink -f "$(command -v java)")
  java=${java%/bin/java}
  # Debian keeps parts of Java in /etc; where it is another one, a folder that does no harm.
  java_etc=$(readlink -f "$java/lib/jvm.cfg")
  case $java_etc in /etc/*) java_etc=$(dirname "$java_etc") ;; *) java_etc=/etc/ssl/certs ;; esac
  printf '%s\n' "DOCKER_HOST=$DOCKER_HOST" "DOCKER_CONFIG=$DOCKER_CONFIG" DOCKER_BUILDKIT=0 "ENGINE_PID=$ENGINE_PID" \
    "STAND_IN_CACHE=$CACHE" "STAND_IN_KAFKA=/opt/services/$(basename "$KAFKA_LIBS")" "STAND_IN_JAVA=$java" "STAND_IN_JAVA_ETC=$java_etc" \
    "STAND_IN_FERRETDB=/opt/services/$(basename "$FERRETDB")" "STAND_IN_MONGO_JAVA=/opt/services/$(basename "$MONGO_JAVA_LIBS")" >"$RUN/env"
}

do_up() {
  local started=$SECONDS
  do_down
  mkdir -p "$CACHE"
  trap 'do_down' EXIT
  install_engine
  (install_native) || none "the services cannot be installed"
  find_postgres || none "no Postgres"
  exec 9>"$CACHE/.lock"
  flock -w 900 9
  make_base
  exec 9>&-
  start_engine
  make_stand_ins
  write_env
  trap - EXIT
  say "ready after $((SECONDS - started)) s: $(docker version -f 'dockerd {{.Server.Version}}'), $(docker-compose version --short)"
  cat "$RUN/env"
}

end_containers() {
  local containers
  containers=$(timeout 20 docker ps -aq 2>/dev/null) || return 0
  # shellcheck disable=SC2086
  [ -z "$containers" ] || timeout 60 docker rm -f $containers >/dev/null 2>&1 || true
}

do_down() {
  local pid started sockets i
  sockets=$(cat "$RUN/sockets" 2>/dev/null) || sockets=''
  if read -r pid started < <(recorded dockerd 2>/dev/null) && alive "$pid" "$started"; then
    DOCKER_HOST=unix://$sockets/docker.sock end_containers
    kill "$pid"
    for ((i = 0; i < 200; i++)); do alive "$pid" "$started" || break; sleep 0.1; done
  fi
  end_recorded
  case $sockets in /tmp/wasmill-engine.*) rm -rf "$sockets" ;; esac
  rm -rf "$RUN/data" "$RUN/client" "$RUN/sockets" "$RUN/env" "$RUN/daemon.json"
}

case ${1:-} in
up | down)
  [ -n "${2:-}" ] || die "usage: $0 $1 DIR"
  mkdir -p "$2"
  RUN=$(cd "$2" && pwd)
  if [ "$1" = up ]; then rm -f "$RUN/why"; fi
  "do_$1"
  ;;
*)
  sed -n '2,11p' "$0" >&2
  exit 2
  ;;
esac
