#!/usr/bin/env bash
# The benchmark's work in Kafka Connect, tuned: connect.sh TO TOPIC GROUP DELIVERY OUTPUT-TOPIC, as the native program. It writes
# rows and documents only, each by a connector with a group of its own, GROUP.row and GROUP.document; its consumers say in the log
# when they have their partitions. It writes its settings where it is started; CONNECT_LIBS and CONNECT_PLUGINS hold the jars.
set -euo pipefail
TO=$1 TOPIC=$2 GROUP=$3

cat >worker.properties <<P
bootstrap.servers=$KAFKA_BROKERS
listeners=http://127.0.0.1:0
plugin.path=$CONNECT_PLUGINS
# By default every class of every jar is looked at, which takes 12 s of processor time.
plugin.discovery=service_load
key.converter=org.apache.kafka.connect.converters.ByteArrayConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.file.filename=offsets
# By default a minute, which is also how much comes twice after a crash.
offset.flush.interval.ms=100
consumer.isolation.level=read_committed
consumer.max.poll.records=5000
consumer.max.partition.fetch.bytes=8388608
consumer.receive.buffer.bytes=1048576
P

connector() { # sink class, then lines of its own
  cat >"$1.properties" <<P
name=$1
connector.class=$2
# On two cores two tasks are slower than one.
tasks.max=$((($(nproc) + 1) / 2))
topics=$TOPIC
consumer.override.group.id=$GROUP.$1
errors.tolerance=all
P
  cat >>"$1.properties"
}

# Only the fields of the schema are read; one that is missing is an error, which drops the record.
row() {
  local url=${BENCH_POSTGRES_URL#*://} login=postgres field fields=''
  case $url in *@*) login=${url%@*} url=${url##*@} ;; esac
  for field in quote character image; do fields+="${fields:+,}{\"field\":\"$field\",\"type\":\"string\"}"; done
  connector row io.debezium.connector.jdbc.JdbcSinkConnector <<P
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=true
value.converter.schema.content={"type":"struct","fields":[$fields]}
transforms=columns
transforms.columns.type=org.apache.kafka.connect.transforms.ReplaceField\$Value
transforms.columns.renames=quote:quotes,character:charact,image:imag
connection.url=jdbc:postgresql://$url
connection.username=${login%%:*}
connection.password=$(case $login in *:*) printf %s "${login#*:}" ;; esac)
# A task uses one; by default it opens 5, and 32 more as soon as one more is needed.
connection.pool.min_size=1
connection.pool.acquire_increment=1
collection.name.format=bench_quotes
primary.key.mode=none
insert.mode=insert
batch.size=5000
dialect.postgres.unnest.insert.enabled=true
P
}

# By default it replaces documents by an id that it draws for each: a search of the whole collection on some servers.
document() {
  connector document com.mongodb.kafka.connect.MongoSinkConnector <<P
connection.uri=$BENCH_MONGODB_URL
database=bench
collection=native
writemodel.strategy=com.mongodb.kafka.connect.sink.writemodel.strategy.InsertOneDefaultStrategy
document.id.strategy=com.mongodb.kafka.connect.sink.processor.id.strategy.KafkaMetaDataStrategy
bulk.write.ordered=false
P
}

connectors=()
for sink in ${TO//+/ }; do
  "$sink"
  connectors+=("$sink.properties")
done
exec java -cp "$CONNECT_LIBS/*" org.apache.kafka.connect.cli.ConnectStandalone worker.properties "${connectors[@]}"
