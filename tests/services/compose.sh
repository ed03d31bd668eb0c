# shellcheck shell=bash
# Starts the services from docker-compose.yml, where a container engine is at hand.

COMPOSE_FILE_=$HERE/../../docker-compose.yml
COMPOSE_WHY='there is no docker'
COMPOSE=()

compose_names() { # SERVICES in the words of docker-compose.yml
  local name
  for name in $SERVICES; do case $name in mongo) echo mongodb ;; *) echo "$name" ;; esac; done
}

find_compose() {
  if docker compose version >/dev/null 2>&1; then COMPOSE=(docker compose)
  elif command -v docker-compose >/dev/null; then COMPOSE=(docker-compose)
  else return 1; fi
  COMPOSE+=(-f "$COMPOSE_FILE_")
}

compose_usable() {
  local names
  command -v docker >/dev/null || return 1
  COMPOSE_WHY='docker info does not answer' && timeout 10 docker info >/dev/null 2>&1 || return 1
  COMPOSE_WHY='docker has no compose' && find_compose || return 1
  mapfile -t names < <(compose_names)
  COMPOSE_WHY='the images are not here and could not be pulled within 120 s'
  compose_has_images "${names[@]}" || timeout 120 "${COMPOSE[@]}" pull "${names[@]}" >&2
}

compose_images() { # names
  awk -v names=" $* " '/^  [a-z]+:$/ { name = $1; sub(":", "", name) } /^    image:/ && index(names, " " name " ") { print $2 }' "$COMPOSE_FILE_"
}

compose_has_images() {
  local image
  for image in $(compose_images "$@"); do docker image inspect "$image" >/dev/null 2>&1 || return 1; done
}

start_compose() {
  local names ports name
  command -v python3 >/dev/null || apt_install python3
  mapfile -t names < <(compose_names)
  mapfile -t ports < <(free_ports 3)
  export KAFKA_PORT=${ports[0]} POSTGRES_PORT=${ports[1]} MONGODB_PORT=${ports[2]}
  echo "wasmill-$$-${ports[0]}" >"$RUN/project"
  "${COMPOSE[@]}" -p "$(cat "$RUN/project")" up -d "${names[@]}" >&2
  for name in "${names[@]}"; do
    wait_healthy "$name"
    about "${name%db}" "$(compose_images "$name") by compose"
  done
  if want kafka; then emit "KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT" KAFKA_FROM=compose; fi
  if want postgres; then emit "POSTGRES_URL=postgres://postgres:${POSTGRES_PASSWORD:-postgres}@127.0.0.1:$POSTGRES_PORT/simpsons" POSTGRES_FROM=compose; fi
  if want mongo; then
    local url="mongodb://root:${MONGODB_ROOT_PASSWORD:-root}@127.0.0.1:$MONGODB_PORT/?directConnection=true&authSource=admin"
    emit "MONGODB_URL=$url" MONGODB_FROM=compose MONGODB_KIND=mongod "MONGODB_VOLUME_URL=$url"
  fi
}

wait_healthy() { # name
  local end=$((SECONDS + READY_TIMEOUT)) id state=''
  id=$("${COMPOSE[@]}" -p "$(cat "$RUN/project")" ps -q "$1")
  until state=$(docker inspect -f '{{.State.Health.Status}}' "$id") && [ "$state" = healthy ]; do
    [ "$SECONDS" -lt "$end" ] || die "$1 is $state after $READY_TIMEOUT s: docker logs $id"
    sleep 0.3
  done
}

compose_alive() {
  find_compose && [ -n "$("${COMPOSE[@]}" -p "$(cat "$RUN/project")" ps -q 2>/dev/null)" ]
}

compose_down() {
  [ -s "$RUN/project" ] || return 0
  ! find_compose || "${COMPOSE[@]}" -p "$(cat "$RUN/project")" down -v >&2 || true
  rm -f "$RUN/project"
}
