# SPDX-License-Identifier: GPL-2.0-only
"""An archive of mails as public-inbox is one, for b4 to ask. No tests here."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

from mails import Letter, mbox


class Archive(ThreadingHTTPServer):
    """What public-inbox is to b4: the thread of each mail that it has. It answers all else as ``status``."""

    def __init__(self) -> None:
        self.threads: dict[str, bytes] = {}
        self.status = 404
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Answer)

    def have(self, letters: list[Letter]) -> None:
        """Have this thread."""
        self.threads |= dict.fromkeys((letter.id for letter in letters), mbox(letters))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One answer of it."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Archive)
        self.server.asked.append(self.path)
        words = unquote(self.path).split("/")
        found = self.server.threads.get(words[2]) if len(words) == 4 and words[3] == "t.mbox.gz" else None
        data = gzip.compress(found) if found else b""
        self.send_response(200 if found else self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_CONNECT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def serving(home: Path) -> Iterator[Archive]:
    """An archive; the configuration of b4 in ``home`` says to ask it."""
    with Archive() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        (home / ".gitconfig").write_text(f"[b4]\n\tmidmask = {server.url}/all/%s\n\tsave-maildirs = yes\n")
        yield server
        server.shutdown()
        thread.join()
