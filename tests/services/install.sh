# shellcheck shell=bash
# What the processes of this machine need, from package managers alone, into $CACHE. Repeatable; one at a time.

KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
FERRETDB_VERSION=1.24.2
MONGO_JAVA_VERSION=1.47.0
KAFKA_LIBS=$CACHE/kafka-$KAFKA_VERSION
MONGO_JAVA_LIBS=$CACHE/mongo-java-server-$MONGO_JAVA_VERSION
FERRETDB=$CACHE/ferretdb-$FERRETDB_VERSION

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

apt_install() { # packages
  command -v apt-get >/dev/null || die "please install: $* (this is no Debian system)"
  [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || die "please install as root: apt-get install $*"
  say "installing $*"
  local get=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  local install=("${get[@]}" install -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@")
  as_root "${install[@]}" >"$CACHE/apt.log" 2>&1 ||
    { as_root "${get[@]}" update >>"$CACHE/apt.log" 2>&1 && as_root "${install[@]}" >>"$CACHE/apt.log" 2>&1; } ||
    die "apt-get install $* failed, see $CACHE/apt.log"
}

maven_libraries() { # name directory < group:artifact:version lines
  local work
  work=$(mktemp -d "$CACHE/maven.XXXXXX")
  {
    printf '<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>%s</artifactId>' "$1"
    printf '<version>1</version><packaging>pom</packaging><dependencies>\n'
    sed -E 's#(.*):(.*):(.*)#<dependency><groupId>\1</groupId><artifactId>\2</artifactId><version>\3</version></dependency>#'
    printf '</dependencies></project>\n'
  } >"$work/pom.xml"
  timeout 900 mvn -q -B -ntp -f "$work/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$work/libs" >"$CACHE/maven-$1.log" 2>&1 ||
    die "maven could not resolve $1, see $CACHE/maven-$1.log"
  rm -rf "$2"
  mv "$work/libs" "$2"
  rm -rf "$work"
}

install_java() {
  command -v java >/dev/null && command -v javac >/dev/null && command -v mvn >/dev/null ||
    apt_install openjdk-17-jdk-headless maven
}

install_kafka() {
  if [ ! -e "$KAFKA_LIBS/.complete" ]; then
    install_java
    say "fetching Kafka $KAFKA_VERSION"
    # kafka_2.13 4.4.0 cannot be resolved: one of its dependencies was never published.
    maven_libraries kafka "$KAFKA_LIBS" <<D
org.apache.kafka:kafka_2.13:$KAFKA_VERSION
org.apache.kafka:kafka-tools:$KAFKA_VERSION
org.slf4j:slf4j-simple:1.7.36
D
    touch "$KAFKA_LIBS/.complete"
  fi
  [ -s "$KAFKA_LIBS/kafka.jsa" ] || archive_classes || say "no class archive: Kafka will start more slowly"
}

find_postgres() {
  local directory
  for directory in $(compgen -G '/usr/lib/postgresql/*/bin' | sort -V); do
    if [ -x "$directory/initdb" ]; then PGBIN=$directory; fi
  done
  [ -n "${PGBIN:-}" ]
}

install_postgres() {
  find_postgres && return
  # The package would start a server of its own.
  as_root mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  apt_install postgresql
  find_postgres || die "the package postgresql brought no initdb"
}

go_is_new_enough() {
  local version
  version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
  [ "$(printf 'go1.24\n%s\n' "$version" | sort -V | head -1)" = go1.24 ]
}

install_ferretdb() {
  [ -x "$FERRETDB" ] && return
  go_is_new_enough || return 1
  say "building FerretDB $FERRETDB_VERSION (once, about two minutes)"
  local work
  work=$(mktemp -d "$CACHE/go.XXXXXX")
  cp "$HERE/mongo/main.go" "$HERE/mongo/go.mod" "$HERE/mongo/go.sum" "$work/"
  (cd "$work" && timeout 1200 go build -trimpath -ldflags='-s -w' -o ferretdb . >"$CACHE/go.log" 2>&1) ||
    { say "building FerretDB failed, see $CACHE/go.log"; rm -rf "$work"; return 1; }
  mv "$work/ferretdb" "$FERRETDB"
  rm -rf "$work"
}

install_mongo_java() {
  local source
  source=$(cksum <"$HERE/mongo/JavaServer.java")
  [ "$(cat "$MONGO_JAVA_LIBS/.complete" 2>/dev/null)" != "$source" ] || return 0
  install_java
  say "fetching mongo-java-server $MONGO_JAVA_VERSION"
  maven_libraries mongo-java-server "$MONGO_JAVA_LIBS" <<D
de.bwaldvogel:mongo-java-server:$MONGO_JAVA_VERSION
org.slf4j:slf4j-simple:2.0.17
D
  javac -cp "$MONGO_JAVA_LIBS/*" -d "$MONGO_JAVA_LIBS/classes" "$HERE/mongo/JavaServer.java" || die "javac failed: see above"
  echo "$source" >"$MONGO_JAVA_LIBS/.complete"
}

# Only for the test of the page: without it that test is skipped, and says so.
install_browser() {
  command -v chromedriver >/dev/null && return
  mkdir -p "$CACHE"
  (apt_install chromium chromium-driver) || say "no Chromium: the page is not tested"
}

install_native() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/.lock"
  flock -w 1800 9 || die "another installation has held $CACHE/.lock for half an hour"
  command -v python3 >/dev/null || apt_install python3
  if want kafka; then install_kafka; fi
  if want postgres; then install_postgres; fi
  if want mongo; then
    install_mongo_java
    install_ferretdb || say "no FerretDB (it needs Go 1.24 or newer): mongo-java-server serves everything"
  fi
  flock -u 9
  exec 9>&-
}
