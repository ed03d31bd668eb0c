"""The benchmark's work in Python, tuned: batches of consume(), COPY and insert_many, commits after writes.

peer.py TO TOPIC GROUP DELIVERY OUTPUT-TOPIC, as the native program; says `reading` when it has its partitions. Rows
and offsets are two commits here: this is what such scripts do, and less than wasmill and the native program promise.
"""
import json
import os
import sys

from confluent_kafka import Consumer, Producer

BATCH = 10_000
TABLE = """CREATE TABLE IF NOT EXISTS bench_quotes (quote_id SERIAL PRIMARY KEY, quotes varchar(500),
    charact varchar(500), imag varchar(500))"""
COPY = "COPY bench_quotes (quotes, charact, imag) FROM STDIN"


def quotes(messages):
    for message in messages:
        if message.key() is not None:
            continue
        try:
            quote = json.loads(message.value())
        except ValueError:
            continue
        yield message, quote


class Rows:
    def __init__(self):
        import psycopg

        self.connection = psycopg.connect(os.environ["BENCH_POSTGRES_URL"])
        self.connection.execute(TABLE)
        self.connection.commit()

    def write(self, batch):
        with self.connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for _, quote in batch:
                copy.write_row((quote["quote"], quote["character"], quote["image"]))
        self.connection.commit()


class Documents:
    def __init__(self, group):
        import pymongo

        client = pymongo.MongoClient(os.environ["BENCH_MONGODB_URL"])
        self.collection, self.group = client["bench"]["native"], group

    def write(self, batch):
        documents = [{"_id": f"{self.group}/{m.partition()}/{m.offset()}", **quote} for m, quote in batch]
        self.collection.insert_many(documents, ordered=False)


class Records:
    def __init__(self, topic):
        self.topic = topic
        self.producer = Producer({
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "enable.idempotence": True,
            "linger.ms": 2,
            "queue.buffering.max.messages": 1_000_000,
        })

    def write(self, batch):
        for message, quote in batch:
            row = {"quotes": quote["quote"], "charact": quote["character"], "imag": quote["image"]}
            value = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
            self.producer.produce(self.topic, value, partition=message.partition())
        if self.producer.flush(30) > 0:
            sys.exit("records were not delivered")


def main():
    to, topic, group, _, output = sys.argv[1:]
    consumer = Consumer({
        "bootstrap.servers": os.environ["KAFKA_BROKERS"],
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 5,
        "queued.min.messages": 200_000,
        "queued.max.messages.kbytes": 65_536,
    })
    consumer.subscribe([topic], on_assign=lambda *_: print("reading", file=sys.stderr, flush=True))
    sinks = [Rows()] if "row" in to else []
    if "document" in to:
        sinks.append(Documents(group))
    if "record" in to:
        sinks.append(Records(output))
    while True:
        messages = consumer.consume(BATCH, 0.05)
        for message in messages:
            if message.error() is not None:
                sys.exit(str(message.error()))
        if messages:
            batch = list(quotes(messages))
            for sink in sinks if batch else []:
                sink.write(batch)
            consumer.commit(asynchronous=False)


main()
