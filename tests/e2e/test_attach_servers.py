# SPDX-License-Identifier: Apache-2.0
"""`mallard attach` and `detach` of nginx and of java while they answer: no request fails."""
from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from support.framework import Test, wait_until

from .test_attach import TIMES, attach_and_detach

JAVA = """
import com.sun.net.httpserver.*;
import java.net.*;
import java.util.concurrent.*;
import java.util.zip.*;
public class Serves {
  public static void main(String[] words) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(words[0])), 0);
    server.setExecutor(Executors.newFixedThreadPool(4));
    server.createContext("/", request -> {
      Deflater deflater = new Deflater();
      deflater.setInput(new byte[20000]);
      deflater.finish();
      byte[] out = new byte[3000];
      int bytes = deflater.deflate(out);
      deflater.end();
      request.sendResponseHeaders(200, bytes);
      request.getResponseBody().write(out, 0, bytes);
      request.close();
    });
    server.start();
  }
}
"""


class Load:
    """Asks again and again, from a few threads, and counts what fails."""

    def __init__(self, port: int) -> None:
        self.port, self.asked, self.failed, self.ends = port, 0, [], False
        self.threads = [threading.Thread(target=self.ask) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.ends:
            try:
                connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
                answer = connection.getresponse()
                if answer.status != 200 or not answer.read():
                    self.failed.append(f"status {answer.status}")
                self.asked += 1
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
                return

    def end(self, t: Test) -> None:
        self.ends = True
        for thread in self.threads:
            thread.join()
        t.check(not self.failed and self.asked > 20, f"{self.asked} requests, failed: {self.failed[:3]}")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.timeout(200)
@pytest.mark.parametrize("times", TIMES)
def test_nginx_under_load(t: Test, times: int) -> None:
    program, folder, port = t.program("nginx"), Path(t.tmp), free_port()
    (folder / "index.html").write_text("hello world " * 3000)
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log; user root; events {{ }}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;\n"
        f"uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5; gzip on; gzip_types *;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n")
    master = t.start([program, "-c", folder / "nginx.conf"], t.plain_env())
    wait_until(lambda: answers(port), 60, "nginx to answer")
    worker = int(Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text(encoding="ascii").split()[0])
    load = Load(port)
    try:
        attach_and_detach(t, worker, times)
    finally:
        load.end(t)
    master.send_signal(signal.SIGQUIT)
    t.finish(master)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("times", TIMES)
def test_java_under_load(t: Test, times: int) -> None:
    java, port = t.program("java"), free_port()
    source = Path(t.tmp) / "Serves.java"
    source.write_text(JAVA)
    server = t.start([java, "-Xmx128m", source, str(port)], t.plain_env())
    wait_until(lambda: answers(port), 120, "java to answer")
    load = Load(port)
    try:
        time.sleep(1)
        attach_and_detach(t, server.pid, times)
    finally:
        load.end(t)
    t.check(server.poll() is None, "java has ended")
    server.kill()
