# shellcheck shell=bash
# Starts the services as processes of this machine.

KAFKA_NODES=${KAFKA_NODES:-1}
KAFKA_HEAP=${KAFKA_HEAP:-256m}
KAFKA_PARTITIONS=${KAFKA_PARTITIONS:-1}
PG_FSYNC=${PG_FSYNC:-off}
KAFKA_TLS=${KAFKA_TLS:-0}
PG_TLS=${PG_TLS:-0}
MONGO_HEAP=${MONGO_HEAP:-512m}
MONGO_VOLUME=${MONGO_VOLUME:-1}
JAVA_OPTIONS=(-XX:+UseSerialGC -Xshare:auto -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)
# Quick to start rather than fast; a benchmark wants the opposite.
[ -n "${SERVICES_FAST:-}" ] || JAVA_OPTIONS+=(-XX:TieredStopAtLevel=1)

# Users of the listener with TLS; their passwords are NAME-secret.
KAFKA_ADMIN=admin
KAFKA_USER=wasmill
SCRAM=()

# Never begins with `-`: the storage tool would take it for an option.
cluster_id() { python3 -c 'import base64,uuid;print("K"+base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22])'; }

kafka_properties() { # id port controller-port voters directory nodes
  local replicas=$6 in_sync=1
  [ "$6" -lt 3 ] || in_sync=2
  cat <<P
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$4
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$2
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$5
num.partitions=$KAFKA_PARTITIONS
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
P
}

# An authority of this directory's own, and a key with its certificate for `localhost` and no other name.
make_certificates() {
  local tls=$RUN/tls key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  [ ! -s "$tls/both.pem" ] || return 0
  command -v openssl >/dev/null || apt_install openssl
  mkdir -p "$tls"
  {
    openssl req -x509 "${key[@]}" -days 30 -subj "/CN=wasmill test authority" -keyout "$tls/ca.key" -out "$tls/ca.pem" &&
      openssl req "${key[@]}" -subj /CN=localhost -keyout "$tls/server.key" -out "$tls/server.csr" &&
      openssl x509 -req -in "$tls/server.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 30 \
        -extfile <(printf 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n') -out "$tls/server.pem"
  } >"$tls/log" 2>&1 || die "no certificates: $(tail -n 3 "$tls/log")"
  cat "$tls/server.key" "$tls/server.pem" "$tls/ca.pem" >"$tls/both.pem"
  emit "TLS_CA=$tls/ca.pem"
}

# A second listener with TLS and SCRAM, and rights: none but what is granted. Who comes by the first one may do everything.
kafka_tls_properties() { # port properties
  sed -i -e "s|^listeners=.*|&,SECURE://127.0.0.1:$1|" -e "s|^advertised.listeners=.*|&,SECURE://localhost:$1|" \
    -e 's|^listener.security.protocol.map=.*|&,SECURE:SASL_SSL|' "$2"
  cat >>"$2" <<P
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$RUN/tls/both.pem
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:$KAFKA_ADMIN
allow.everyone.if.no.acl.found=false
P
}

kafka_format() { # properties cluster-id log [jvm options]
  local properties=$1 id=$2 log=$3
  shift 3
  timeout 180 java "${JAVA_OPTIONS[@]}" "$@" -cp "$KAFKA_LIBS/*" kafka.tools.StorageTool format -t "$id" \
    -c "$properties" "${SCRAM[@]}" >"$log" 2>&1
}

# Class archives halve the start time; made once per cache by a short run.
archive_classes() {
  local work ports pid ok=1 i
  work=$(mktemp -d "$CACHE/classes.XXXXXX")
  mapfile -t ports < <(free_ports 2)
  kafka_properties 1 "${ports[0]}" "${ports[1]}" "1@127.0.0.1:${ports[1]}" "$work/data" 1 >"$work/properties"
  kafka_format "$work/properties" "$(cluster_id)" "$work/log" -XX:ArchiveClassesAtExit="$work/format.jsa" || ok=0
  java -Xmx256m "${JAVA_OPTIONS[@]}" -XX:ArchiveClassesAtExit="$work/kafka.jsa" -cp "$KAFKA_LIBS/*" \
    kafka.Kafka "$work/properties" >"$work/log" 2>&1 9>&- &
  pid=$!
  [ $ok = 1 ] && kafka_ready "127.0.0.1:${ports[0]}" 1 60 || ok=0
  kill "$pid" 2>/dev/null || true
  for ((i = 0; i < 300; i++)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  if [ $ok = 1 ] && [ -s "$work/kafka.jsa" ]; then mv "$work/format.jsa" "$work/kafka.jsa" "$KAFKA_LIBS/"; else ok=0; fi
  rm -rf "$work"
  [ $ok = 1 ]
}

start_kafka() {
  local n=$KAFKA_NODES i id voters='' ports pids=() format=() run=()
  BROKERS=''
  mapfile -t ports < <(free_ports $((3 * n)))
  if [ "$KAFKA_TLS" = 1 ]; then
    make_certificates
    for i in "$KAFKA_ADMIN" "$KAFKA_USER"; do SCRAM+=(--add-scram "SCRAM-SHA-512=[name=$i,password=$i-secret]"); done
    emit "KAFKA_TLS_BROKERS=localhost:${ports[2 * n]}"
  fi
  [ ! -s "$KAFKA_LIBS/format.jsa" ] || format=(-XX:SharedArchiveFile="$KAFKA_LIBS/format.jsa")
  [ ! -s "$KAFKA_LIBS/kafka.jsa" ] || run=(-XX:SharedArchiveFile="$KAFKA_LIBS/kafka.jsa")
  for ((i = 1; i <= n; i++)); do
    voters+="${voters:+,}$i@127.0.0.1:${ports[n + i - 1]}"
    BROKERS+="${BROKERS:+,}127.0.0.1:${ports[i - 1]}"
  done
  id=$(cluster_id)
  for ((i = 1; i <= n; i++)); do
    mkdir -p "$RUN/kafka$i"
    kafka_properties "$i" "${ports[i - 1]}" "${ports[n + i - 1]}" "$voters" "$RUN/kafka$i/data" "$n" >"$RUN/kafka$i/server.properties"
    [ "$KAFKA_TLS" != 1 ] || kafka_tls_properties "${ports[2 * n + i - 1]}" "$RUN/kafka$i/server.properties"
    kafka_format "$RUN/kafka$i/server.properties" "$id" "$RUN/kafka$i/format.log" "${format[@]}" &
    pids+=($!)
  done
  for i in "${pids[@]}"; do wait "$i" || die "kafka's storage could not be formatted: $(tail -n 3 "$RUN"/kafka*/format.log)"; done
  for ((i = 1; i <= n; i++)); do
    # Kept as a file so that `start` finds it.
    printf 'cd %q && exec java -Xms64m -Xmx%s %s -cp %q kafka.Kafka server.properties >>log 2>&1\n' \
      "$RUN/kafka$i" "$KAFKA_HEAP" "${JAVA_OPTIONS[*]} ${run[*]}" "$KAFKA_LIBS/*" >"$RUN/kafka$i/start"
    launch "kafka$i"
  done
  emit "KAFKA_BROKERS=$BROKERS" KAFKA_FROM=native
  about kafka "Apache Kafka $KAFKA_VERSION, $n node(s) of KRaft, on $BROKERS"
}

as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

launch_postgres() { # data-directory
  as_postgres bash -s <"$RUN/postgres/start" >/dev/null 2>&1 8>&- || return 1
  record postgres "$(head -1 "$1/postmaster.pid")" INT
}

start_postgres() {
  local port directory
  find_postgres || die "no postgres"
  port=$(free_ports 1)
  # Not below $RUN: the server's own user must be able to reach it.
  directory=$(mktemp -d "${TMPDIR:-/tmp}/wasmill-pg.XXXXXX")
  printf '%s\n' "$directory" >>"$RUN/tmpdirs"
  [ "$(id -u)" != 0 ] || chown postgres: "$directory"
  (cd / && as_postgres "$PGBIN/initdb" -D "$directory/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync) \
    >"$RUN/initdb.log" 2>&1 || die "initdb failed: $(tail -n 3 "$RUN/initdb.log")"
  # One user needs a password, for tests of a wrong one.
  sed -i '1i host all wasmill_with_password 127.0.0.1/32 scram-sha-256' "$directory/data/pg_hba.conf"
  if [ "$PG_TLS" = 1 ]; then
    make_certificates
    cp "$RUN/tls/server.pem" "$RUN/tls/server.key" "$directory/data/"
    chmod 600 "$directory/data/server.key"
    [ "$(id -u)" != 0 ] || chown postgres: "$directory/data/server.pem" "$directory/data/server.key"
    PG_EXTRA="${PG_EXTRA:-} -c ssl=on -c ssl_cert_file=server.pem -c ssl_key_file=server.key"
  fi
  mkdir -p "$RUN/postgres"
  # Kept as a file so that `start` finds it.
  printf 'cd / && exec %q -D %q -l %q -w -t %q -o %q start\n' "$PGBIN/pg_ctl" "$directory/data" "$directory/log" "$READY_TIMEOUT" \
    "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=$PG_FSYNC -c max_connections=200 ${PG_EXTRA:-}" \
    >"$RUN/postgres/start"
  launch_postgres "$directory/data" || die "postgres did not start: $(tail -n 3 "$directory/log")"
  "$PGBIN/createdb" -h 127.0.0.1 -p "$port" -U postgres simpsons
  emit "POSTGRES_URL=postgres://postgres@127.0.0.1:$port/simpsons" "POSTGRES_DATA=$directory/data" POSTGRES_FROM=native
  about postgres "$("$PGBIN/postgres" --version | sed 's/.*) //;s/^/PostgreSQL /'), on 127.0.0.1:$port"
}

# FerretDB is exact but slow with many upserts; mongo-java-server is fast and forgets when it ends. Tests of volume use the second.
start_mongo() {
  local port url
  MONGO_PORTS=''
  if [ "$MONGO_VOLUME" = 1 ] || [ ! -x "$FERRETDB" ]; then start_mongo_java; fi
  if [ ! -x "$FERRETDB" ]; then
    emit "MONGODB_URL=$url" MONGODB_KIND=mongo-java-server MONGODB_FROM=native
    return
  fi
  port=$(free_ports 1) MONGO_PORTS+=" $port"
  mkdir -p "$RUN/ferretdb/data"
  printf 'exec %q 127.0.0.1:%s file:%q >>%q 2>&1\n' "$FERRETDB" "$port" "$RUN/ferretdb/data/" "$RUN/ferretdb/log" >"$RUN/ferretdb/start"
  launch ferretdb
  emit "MONGODB_URL=mongodb://127.0.0.1:$port/" MONGODB_KIND=ferretdb MONGODB_FROM=native
  [ "$MONGO_VOLUME" = 1 ] || emit "MONGODB_VOLUME_URL=mongodb://127.0.0.1:$port/"
  about mongo "FerretDB $FERRETDB_VERSION on SQLite (stands in for MongoDB), on 127.0.0.1:$port"
}

start_mongo_java() {
  local volume
  volume=$(free_ports 1)
  mkdir -p "$RUN/mongo-java-server"
  setsid java "-Xmx$MONGO_HEAP" "${JAVA_OPTIONS[@]}" -cp "$MONGO_JAVA_LIBS/classes:$MONGO_JAVA_LIBS/*" JavaServer "$volume" \
    </dev/null >"$RUN/mongo-java-server/log" 2>&1 8>&- &
  record mongo-java-server $! TERM
  url=mongodb://127.0.0.1:$volume/ MONGO_PORTS=$volume
  about mongo "mongo-java-server $MONGO_JAVA_VERSION (in memory, stands in for MongoDB), on 127.0.0.1:$volume"
  emit "MONGODB_VOLUME_URL=$url"
}

start_native() {
  local port
  install_native 8>&-
  if want kafka; then start_kafka; fi
  if want mongo; then start_mongo; fi
  if want postgres; then start_postgres; fi
  for port in ${MONGO_PORTS:-}; do
    tcp_ready "$port" "$READY_TIMEOUT" || die "the MongoDB server does not answer: $(tail -n 3 "$RUN"/ferretdb/log "$RUN"/mongo-java-server/log)"
  done
  if want kafka; then
    kafka_ready "$BROKERS" "$KAFKA_NODES" "$READY_TIMEOUT" || die "kafka does not answer: $(tail -n 3 "$RUN"/kafka1/log)"
  fi
}

# Kafka's own tool for rights.
do_acls() { # arguments
  java "${JAVA_OPTIONS[@]}" -cp "$KAFKA_LIBS/*" org.apache.kafka.tools.AclCommand "$@"
}

# For tests that take a service away. mongo-java-server is left out: it forgets when it ends.
do_kill() { # name
  local pid started signal=KILL i
  case $1 in postgres) signal=QUIT ;; kafka[0-9] | ferretdb) ;; *) die "cannot kill $1: use kafkaN, postgres, ferretdb" ;; esac
  read -r pid started < <(recorded "$1") || die "$1 is no process that was started in $RUN"
  if alive "$pid" "$started"; then kill "-$signal" "$pid"; fi
  for ((i = 0; i < 200; i++)); do
    alive "$pid" "$started" || break
    sleep 0.05
  done
  forget "$1"
}

do_start() { # name
  [ -s "$RUN/$1/start" ] || die "$1 was not started in $RUN"
  ! recorded "$1" >/dev/null || die "$1 runs already"
  if [ "$1" = postgres ]; then
    find_postgres
    launch_postgres "$(value_of POSTGRES_DATA)" || die "postgres did not start"
    return
  fi
  launch "$1"
  case $1 in
  kafka*) kafka_ready "$(value_of KAFKA_BROKERS)" 1 "$READY_TIMEOUT" || die "kafka does not answer" ;;
  ferretdb) tcp_ready "$(value_of MONGODB_URL | sed 's/.*:\([0-9]*\).*/\1/')" "$READY_TIMEOUT" || die "FerretDB does not answer" ;;
  esac
}

# Kafka's own tool for transactions that hang.
do_transactions() { # arguments
  java "${JAVA_OPTIONS[@]}" -cp "$KAFKA_LIBS/*" org.apache.kafka.tools.TransactionsCommand --bootstrap-server "$(value_of KAFKA_BROKERS)" "$@"
}
