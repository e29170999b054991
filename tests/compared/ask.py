# SPDX-License-Identifier: Apache-2.0
"""ask.py lines PORT LINE...: sends each line to the port and waits for its answer, one after the other.
ask.py pages PORT COUNT: asks for /0 to /COUNT-1 over HTTP, eight at a time; all must be answered. Prints a digest."""
import hashlib
import socket
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

kind, port = sys.argv[1], int(sys.argv[2])
answers = []
if kind == "lines":
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rw") as stream:
        for request in sys.argv[3:]:
            stream.write(request + "\n")
            stream.flush()
            answers.append(stream.readline())
            if not answers[-1]:
                sys.exit(f"no answer to '{request}'")
else:
    def page(number: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=120) as response:
            return response.read().decode()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(page, range(int(sys.argv[3]))))
print(hashlib.sha256("".join(answers).encode()).hexdigest())
