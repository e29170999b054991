# SPDX-License-Identifier: Apache-2.0
"""A batch: reads 400,000 records of JSON, groups them, and prints a digest of the groups."""
import hashlib
import json
from collections import defaultdict


def line(number: int) -> str:
    return json.dumps({"id": number, "name": f"customer {number * 7919 % 5003}", "tags": [f"t{number % k}" for k in (3, 7, 31)],
                       "items": [{"sku": number * i % 997, "price": i * 1.25} for i in range(1, 2 + number % 5)]})


groups = defaultdict(list)
for n in range(400_000):
    record = json.loads(line(n))
    if n % 3 == 0:
        groups[record["name"]].append(record)
totals = {name: sum(item["price"] for record in records for item in record["items"]) for name, records in groups.items()}
print(hashlib.sha256(json.dumps(totals, sort_keys=True).encode()).hexdigest())
