"""Writes payments.jsonl with another client: python3 -m pip install fastavro && python3 samples/make.py"""

import base64, io, json, pathlib, struct

import fastavro

here = pathlib.Path(__file__).parent
schema = fastavro.parse_schema(json.loads((here.parent / "src/payment.avsc").read_text()))


def framed(record, schema_id=7, magic=0):
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, record)
    return struct.pack(">bI", magic, schema_id) + body.getvalue()


ada = {"id": "p-1", "cents": 1250, "currency": "EUR", "memo": "Grüße", "tags": ["a", "b"]}
grace = {"id": "p-2", "cents": -(2**40), "currency": "USD", "memo": None, "tags": []}
samples = [
    ("all fields", framed(ada), {}),
    ("a large negative number, NULL and an empty list", framed(grace), {}),
    ("another schema", framed(ada, schema_id=8), {}),
    ("the id is a variable", framed(ada, schema_id=8), {"schema_id": "8"}),
    ("another magic byte", framed(ada, magic=1), {}),
    ("cut in the frame", framed(ada)[:4], {}),
    ("cut in the record", framed(ada)[:12], {}),
    ("more than the record", framed(ada) + b"\0\0", {}),
    ("JSON", json.dumps(ada).encode(), {}),
]
with open(here / "payments.jsonl", "w") as file:
    for name, value, variables in samples:
        line = {"name": name, "value_base64": base64.b64encode(value).decode()}
        if variables:
            line["vars"] = variables
        print(json.dumps(line), file=file)
    print(json.dumps({"name": "a tombstone", "key": "p-1", "value": None}), file=file)
