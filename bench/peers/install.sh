# shellcheck shell=bash
# Peers of `make bench PEERS=1`, from package registries into $PEERS_DIR. Each becomes a program there that takes the arguments of
# the native one and is named by a variable, BENCH_PYTHON for `python`. One that cannot be had is named and left out.

PEERS_DIR=$STATE/bench-peers
KAFKA_PEERS_VERSION=4.3.1
# 3.6.0 needs a library that was never published.
CONNECT_JDBC_VERSION=3.5.0.Final
CONNECT_MONGO_VERSION=2.0.1
POSTGRES_JDBC_VERSION=42.7.4

peers() {
  local name
  mkdir -p "$PEERS_DIR"
  for name in python streams connect; do
    # In a shell of its own: what goes wrong ends with it.
    if ("peer_$name"); then
      export "BENCH_${name^^}=$PEERS_DIR/$name"
    else
      say "the peer $name is left out"
    fi
  done
}

program() { # name command
  local file=$PEERS_DIR/$1
  shift
  # The process is replaced: it is the one that is measured.
  { echo '#!/usr/bin/env bash'; printf 'exec'; printf ' %q' "$@"; echo ' "$@"'; } >"$file"
  chmod +x "$file"
}

peer_python() {
  local venv=$STATE/bench-python
  has python3 || die "python3 is missing: install python3 and python3-venv"
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || die "python3 cannot make an environment: install python3-venv"
  "$venv/bin/pip" install --quiet --requirement bench/peers/requirements.txt || die "the packages of the peer python could not be installed"
  program python "$venv/bin/python" "$ROOT/bench/peers/peer.py"
}

# From Maven, once for each content of the list. Fails before anything is fetched where a tool is missing.
libraries() { # name directory < group:artifact:version lines
  local list
  list=$(cat)
  [ "$(cat "$2/.complete" 2>/dev/null)" != "$list" ] || return 0
  has mvn && has javac || die "the peer $1 needs Java 17 and Maven: install openjdk-17-jdk-headless and maven, or what your system calls them"
  say "fetching $1"
  # shellcheck disable=SC2034
  CACHE=$PEERS_DIR
  # shellcheck source=tests/services/install.sh
  . tests/services/install.sh
  maven_libraries "$1" "$2" <<<"$list"
  echo "$list" >"$2/.complete"
}

JVM="-Xms256m -Xmx512m -XX:+UseParallelGC -Dorg.slf4j.simpleLogger.defaultLogLevel=error"
# Says when partitions are there.
JVM+=" -Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.consumer.internals.ConsumerRebalanceListenerInvoker=info"

peer_streams() {
  local libs=$PEERS_DIR/streams-libs
  libraries streams "$libs" <<D
org.apache.kafka:kafka-streams:$KAFKA_PEERS_VERSION
org.slf4j:slf4j-simple:1.7.36
D
  javac -cp "$libs/*" -d "$libs/classes" bench/peers/Streams.java || die "javac failed: see above"
  program streams env JDK_JAVA_OPTIONS="$JVM" java -cp "$libs/classes:$libs/*" Streams
}

peer_connect() {
  local libs=$PEERS_DIR/connect-libs plugins=$PEERS_DIR/connect-plugins
  mkdir -p "$plugins"
  libraries connect "$libs" <<D
org.apache.kafka:connect-runtime:$KAFKA_PEERS_VERSION
org.apache.kafka:connect-json:$KAFKA_PEERS_VERSION
org.apache.kafka:connect-transforms:$KAFKA_PEERS_VERSION
org.slf4j:slf4j-simple:1.7.36
D
  libraries connect-jdbc "$plugins/jdbc" <<D
io.debezium:debezium-connector-jdbc:$CONNECT_JDBC_VERSION
org.postgresql:postgresql:$POSTGRES_JDBC_VERSION
D
  libraries connect-mongo "$plugins/mongo" <<<"org.mongodb.kafka:mongo-kafka-connect:$CONNECT_MONGO_VERSION"
  # Without a list of its connectors it is found only by looking at every class.
  mkdir -p "$PEERS_DIR/manifest/META-INF/services"
  echo com.mongodb.kafka.connect.MongoSinkConnector >"$PEERS_DIR/manifest/META-INF/services/org.apache.kafka.connect.sink.SinkConnector"
  jar --create --file "$plugins/mongo/manifest.jar" -C "$PEERS_DIR/manifest" META-INF || die "jar failed: see above"
  # The worker has these, of other versions; the JDBC sink does not start with both.
  rm -f "$plugins"/*/{jackson-{core,databind,annotations},kafka-clients,connect-api,slf4j-api}-[0-9]*.jar
  program connect env JDK_JAVA_OPTIONS="$JVM" CONNECT_LIBS="$libs" CONNECT_PLUGINS="$plugins" "$ROOT/bench/peers/connect.sh"
}
