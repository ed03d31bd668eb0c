#!/usr/bin/env bash
# What a host needs of Kafka, and nothing else: prints the commands for one flow, to be looked at and piped into a shell.
#   deploy/rights/kafka.sh BROKERS USER FLOW TOPIC [OUTPUT-TOPIC…] | bash
# Its options for kafka-acls.sh, such as --command-config admin.properties, come from KAFKA_ACLS_OPTIONS.
set -euo pipefail
[ $# -ge 4 ] || { echo "usage: kafka.sh BROKERS USER FLOW TOPIC [OUTPUT-TOPIC…]" >&2; exit 2; }
BROKERS=$1 USER_=$2 FLOW=$3 TOPIC=$4
shift 4
allow() { echo "kafka-acls.sh --bootstrap-server $BROKERS ${KAFKA_ACLS_OPTIONS:-} --add --force --allow-principal User:$USER_ $*"; }
# Reading: the topic and its settings, and the group of the flow.
allow --operation Read --operation Describe --operation DescribeConfigs --topic "'$TOPIC'"
allow --operation Read --operation Describe --group "'wasmill.$FLOW'"
# Dead letters that were sent back by `wasmill dlq redrive`; who does that needs to write there, too.
allow --operation Read --operation Describe --topic "'wasmill.$FLOW.redrive'"
# Writing: dead letters, and what the module declares. Create only while the host shall create what is missing.
for OUTPUT in "$TOPIC.dlq" "$@"; do
  allow --operation Write --operation Describe --operation DescribeConfigs --operation Create --topic "'$OUTPUT'"
done
# Producers are idempotent; flows with Kafka outputs use transactions whose ids begin with the flow's group and a dot.
allow --operation IdempotentWrite --cluster
allow --operation Write --operation Describe --resource-pattern-type prefixed --transactional-id "'wasmill.$FLOW.'"
