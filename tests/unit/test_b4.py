# SPDX-License-Identifier: GPL-2.0-only
"""A thread that b4 fetches: from an archive of the test's own, which the user's configuration of b4 names."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from archive import Archive, serving
from mails import BOB, Letter, mbox, repository, sending
from trees import git, own_cache, soon

from harness import manifest, source
from harness.errors import HostError, RequestError

__all__ = ["own_cache"]

COVER = manifest.read("kthread-nullfs-v2").cover
REVIEWED = f"Reviewed-by: {BOB}\n"


@pytest.fixture
def archive(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    del own_cache
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with serving(tmp_path / "home") as server:
        yield server


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("user") / "repository")[0]


def test_a_message_id_or_a_link(archive: Archive, top: Path) -> None:
    letters = sending(top, "topic~4..topic")
    archive.have([*letters, letters[2].answer(REVIEWED), *sending(top, "base..topic~4", revision=2, at=1)])
    series = source.read("toy-v1-0@example.org", soon())
    assert [patch.subject for patch in series.patches] == [
        *git(top, "log", "--reverse", "--format=%s", "topic~4..topic").splitlines()
    ]
    assert REVIEWED in series.patches[1].text
    assert len(archive.asked) == 1  # nobody is asked for more: not for newer revisions, nor for others' answers
    # Which revision is up to the id.
    assert source.read("<toy-v2-3@example.org>", soon()).revision == 2
    for link in ("https://lore.kernel.org/all/{}/T/#u", "https://patch.msgid.link/{}", "https://lore.kernel.org/r/{}/"):
        assert source.read(link.format("toy-v1-2%40example.org"), soon()).key == series.key
    # Of another archive than lore's the link itself is asked for.
    other = archive.url.replace("127.0.0.1", "localhost")
    assert source.read(f"{other}/toy-list/toy-v1-1@example.org/", soon()).key == series.key
    assert archive.asked[-1].startswith("/toy-list/")


def test_a_name_in_patches(archive: Archive, top: Path) -> None:
    letters = sending(top, "topic~1..topic")
    cover = Letter(COVER, letters[0].subject, letters[0].body, sent=letters[0].sent)
    archive.have([cover, Letter("1@example.org", letters[1].subject, letters[1].body, parents=(COVER,))])
    series = source.read("kthread-nullfs-v2", soon())
    assert (series.message_id, len(series.patches)) == (COVER, 1)


def test_nobody_is_asked_about_mails_that_are_here(
    archive: Archive, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, archive.url)
    monkeypatch.setenv("no_proxy", "")
    signed = "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=x; h=from; bh=x; b=x"
    letters = [replace(letter, headers=signed) for letter in sending(top, "topic~4..topic")]
    box = tmp_path / "box"
    box.write_bytes(mbox(letters))
    assert len(source.read(str(box), soon()).patches) == 4
    assert archive.asked == []
    # That is how it would be seen.
    with pytest.raises((HostError, RequestError)):
        source.read("toy-v1-0@example.org", soon())
    assert archive.asked


def test_what_is_not_there(archive: Archive) -> None:
    with pytest.raises(RequestError, match=r"b4 finds no message nobody@example\.org(?s:.*)404") as caught:
        source.read("nobody@example.org", soon())
    assert caught.value.hint
    archive.status = 503
    with pytest.raises(HostError, match=r"b4 cannot fetch other@example\.org(?s:.*)503"):
        source.read("other@example.org", soon())


def test_no_network(archive: Archive, tmp_path: Path) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        config = tmp_path / "home/.gitconfig"
        config.write_text(config.read_text().replace(f":{archive.server_port}", f":{port}"))
        with pytest.raises(HostError, match=r"b4 cannot fetch toy@example\.org(?s:.*)Connection refused") as caught:
            source.read("<toy@example.org>", soon())
    assert "b4 mbox -n thread.mbox toy@example.org" in caught.value.hint
    assert not archive.asked
