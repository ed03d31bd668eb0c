#!/bin/bash
# Kafka's own tool; its archive has it under this name.
# shellcheck disable=SC2086
exec "$STAND_IN_JAVA/bin/java" ${KAFKA_HEAP_OPTS:--Xmx256M} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
  -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$STAND_IN_KAFKA/*" org.apache.kafka.tools.BrokerApiVersionsCommand "$@"
