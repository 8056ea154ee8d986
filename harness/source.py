# SPDX-License-Identifier: GPL-2.0-only
"""Where a patch series comes from: a mailbox, files, a git range, an archive of mails, or a name in patches/.

Each becomes the same: patches in their order, as git-am(1) takes them with --keep-cr.
"""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness import b4, cache, mail, manifest, page, patchfiles, tree
from harness.deadline import Deadline
from harness.errors import RequestError
from harness.git import Checkout, GitError, Repository
from harness.mail import Mail, trailer
from harness.mailbox import Choice, Mailbox
from harness.patchfiles import Files
from harness.series import Patch, Series

KINDS = "a mailbox, a directory of patches, PATH@BASE..TOPIC, a message id, a link, or one of: "
MAILDIR = frozenset({"cur", "new", "tmp"})
REVISION = re.compile(r"v\d+")
#: A message id, as it is typed.
ID = re.compile(r"<?([^<>\s/@]+@[^<>\s/@]+)>?")
PAGE = "read from the text of a web page, which has no message ids; trailers of the answers are not taken"
#: Archives for which the user's b4 may know a mirror.
LORE = ("lore.kernel.org", "patch.msgid.link", "lkml.kernel.org")
GZIP = b"\x1f\x8b"
#: Bytes in which a mail or a patch shows that it is one.
BEGINNING = 1 << 16
FORMAT = ("format-patch", "--quiet", "--no-signature", "--full-index", "--binary", "--no-numbered")


def read(spec: str, deadline: Deadline) -> Series:
    """The series that ``spec`` names. Raises RequestError if there is none, or not one alone or not all; HostError.

    What exists as a path is one, whatever is in its name; behind a path and @ stands what to take of it.
    """
    try:
        for name, which in _splits(spec):
            path = tree.named(name)
            if ".." in which and path.is_dir() and not _is_maildir(path):
                return _range(spec, path, which, deadline)
            return _path(spec, name, which.strip("<>"), deadline)
    except PermissionError as error:
        raise RequestError(
            f"{error.filename} cannot be read", cause=error.strerror or "", hint=patchfiles.RIGHTS
        ) from error
    if spec in manifest.names():
        cover = manifest.read(spec).cover
        if not cover:
            hint = "its commits are in mainline: PATH@BASE..TOPIC of a clone"
            raise RequestError(f"the manifest of {spec} knows no mail of it", hint=hint)
        return _fetched(spec, cover, cover, deadline)
    if re.match(r"https?://", spec):
        return _linked(spec, deadline)
    if _is_range(spec):
        return _range(spec, Path(), spec, deadline)
    if found := ID.fullmatch(spec):
        return _fetched(spec, found[1], found[1], deadline)
    raise RequestError(f"no such patch series: {spec}", hint=f"a series is {KINDS}{', '.join(manifest.names())}")


def is_series(spec: str) -> bool:
    """Whether ``spec`` looks like a patch series, and not like a kernel or a tree; of a file the beginning is read."""
    for name, which in _splits(spec):
        path = tree.named(name)
        if path.is_dir():
            patches = (path / patchfiles.SERIES).is_file() or any(path.glob("*.patch")) or any(path.glob("*.diff"))
            return ".." in which or _is_maildir(path) or (patches and not tree.is_tree(path))
        data = _beginning(path)
        if path.name == patchfiles.SERIES or data.startswith(b"From ") or mail.looks_like_one(data):
            return True
        return b"\0" not in data and (mail.DIFF.search(data) is not None or bool(page.mails(data)))
    return spec in manifest.names() or "://" in spec or _is_range(spec) or ID.fullmatch(spec) is not None


def _beginning(path: Path) -> bytes:
    """As much of a file as shows what it is; nothing of what cannot be read."""
    data = b""
    if not path.is_file():
        return data
    with suppress(OSError, zlib.error):
        with path.open("rb") as file:
            data = file.read(BEGINNING)
        if data[:2] == GZIP:
            data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, BEGINNING)
    return data


def _is_range(spec: str) -> bool:
    return ".." in spec and not spec.startswith("<") and "/../" not in f"/{spec}"


def _splits(spec: str) -> list[tuple[str, str]]:
    """The path and what stands behind it, at most one; see ``tree.split``."""
    places = [len(spec), *(match.start() for match in re.finditer("@", spec))]
    there = (place for place in places if spec[:place] and tree.named(spec[:place]).exists())
    return [(spec[:place], spec[place + 1 :]) for place in there][:1]


def _is_maildir(path: Path) -> bool:
    return {each.name for each in patchfiles.listed(path)} >= MAILDIR


def _path(spec: str, name: str, which: str, deadline: Deadline) -> Series:
    path = tree.named(name)
    if which and not (REVISION.fullmatch(which) or ID.fullmatch(which)):
        raise RequestError(f"{which!r} names nothing in {path}", hint="what stands behind @ is v2, or a message id")
    if path.is_dir() and not _is_maildir(path):
        quilt = path / patchfiles.SERIES
        return _of_files(spec, patchfiles.quilt(quilt) if quilt.is_file() else patchfiles.directory(path, which))
    if path.is_dir():
        files = [file for below in ("cur", "new") for file in patchfiles.listed(path / below) if file.is_file()]
        mails = [found for file in files for found in mail.split(patchfiles.content(file))[:1]]
    else:
        data = _unpacked(path, patchfiles.content(path))
        if not data.strip():
            raise RequestError(f"{path} is empty", hint=mail.THREAD)
        mails = mail.split(data)
        if not mails and path.name == patchfiles.SERIES:
            return _of_files(spec, patchfiles.quilt(path))
        if not mails and (shown := page.mails(data)):
            found = patchfiles.ordered(map(Mail, shown), name, which)
            return _of_files(spec, replace(found, notes=(*found.notes, PAGE)))
        if not mails and mail.DIFF.search(data):
            return _of_files(spec, patchfiles.ordered([patchfiles.made(data, path)], name, which))
        if not mails:
            raise RequestError(
                f"{path} is no mailbox, no mail and no patch",
                cause=f"it begins with {data[:40].decode('utf-8', 'replace')!r}",
                hint=f"a mailbox begins with a line `From …`; {mail.THREAD}",
            )
        if not any(each.sent_id for each in mails):
            return _of_files(spec, patchfiles.ordered(mails, name, which))
    return _of_mails(spec, Mailbox(mails, name).chosen(which), name, deadline)


def _unpacked(path: Path, data: bytes) -> bytes:
    """What is in a file that an archive of mails gave, packed by gzip(1)."""
    if data[:2] != GZIP:
        return data
    found, rest = b"", data
    while rest:  # boxes that were packed one by one, and put into one file
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            found += unpacker.decompress(rest, patchfiles.MOST - len(found) + 1)
            if not (unpacker.eof or unpacker.unconsumed_tail):
                raise zlib.error("its end is missing")
        except zlib.error as error:
            hint = "get it again; gzip -t tells"
            raise RequestError(f"{path} cannot be unpacked", cause=str(error), hint=hint) from error
        if len(found) > patchfiles.MOST:
            what = f"{path} is too big: more than {patchfiles.MOST >> 20} MB are not read"
            raise RequestError(what, hint=mail.THREAD)
        rest = unpacker.unused_data
    return found


def _linked(spec: str, deadline: Deadline) -> Series:
    """What is behind a link to an archive: the message id is the word with an @ in its path."""
    url = urlsplit(spec)
    found = next((word for word in map(unquote, url.path.split("/")) if ID.fullmatch(word)), "")
    if not found:
        raise RequestError(f"there is no message id in {spec}", hint="a link is https://lore.kernel.org/MESSAGE-ID")
    return _fetched(spec, found, found if (url.hostname or "") in LORE else spec, deadline)


def _fetched(spec: str, which: str, asked: str, deadline: Deadline) -> Series:
    mails = b4.fetched(asked, deadline)
    return _of_mails(spec, Mailbox(mails, f"the thread of <{which}>").chosen(which), spec, deadline)


def _of_mails(spec: str, choice: Choice, where: str, deadline: Deadline) -> Series:
    """What b4 makes of a thread. Raises RequestError if a patch is missing in it, HostError."""
    posting = choice.posting
    mails, notes = b4.am(choice.thread, choice.revision, where, deadline)
    sent = {each.id: each for each in choice.thread}
    of = max([posting.of, *(each.subject.n for each in mails)])
    if not mails:
        raise RequestError(f"b4 finds no patch in {where}", hint=mail.THREAD)
    numbers = [each.subject.n if each.subject.counted else 1 for each in mails]
    patchfiles.whole(numbers, of, where, choice.earlier)
    patches = []
    for n, each in zip(numbers, mails, strict=True):
        original = sent.get(each.id, each)
        patches.append(_patch(_exact(each, original), n, of, original.sent_id))
    facts = _facts(spec, posting.cover, [sent.get(each.id, each) for each in mails], patches)
    return replace(facts, revision=posting.revision, notes=(*choice.notes, *notes, *facts.notes))


def _exact(made: Mail, sent: Mail) -> Mail:
    """B4 reads a patch as text. What is none, and a CR at the end of a line, is taken from the mail as it was sent."""
    lost = "\N{REPLACEMENT CHARACTER}".encode()
    if b"\r" not in sent.diff and made.diff.count(lost) == sent.diff.count(lost):
        return made
    head = made.raw[: len(made.raw) - len(made.diff)]
    return Mail(head + sent.diff)


def _of_files(spec: str, files: Files) -> Series:
    of = len(files.patches)
    patches = [_patch(each, n, of, each.sent_id) for n, each in enumerate(files.patches, start=1)]
    facts = _facts(spec, files.cover, files.patches, patches)
    return replace(facts, notes=(*files.notes, *facts.notes))


def _patch(each: Mail, n: int, of: int, message_id: str) -> Patch:
    # A binary change ends with a blank line; an mbox has one before each From_ line, which is none of the mail.
    return Patch(n, of, each.subject.text or "(no subject)", each.plain.rstrip(b"\n") + b"\n\n", message_id)


def _facts(spec: str, cover: Mail | None, mails: Sequence[Mail], patches: list[Patch]) -> Series:
    """What the cover letter says, or the first patch where there is none."""
    first = cover or mails[0]
    texts = [each.text for each in (first, *mails)]
    names = ("base-commit", "change-id")
    base, change = (next(filter(None, (trailer(text, name) for text in texts)), "") for name in names)
    needed = sum(text.count("\nprerequisite-patch-id: ") for text in texts[:2])
    return Series(
        spec,
        first.subject.text or "(no subject)",
        first.subject.revision,
        tuple(patches),
        author=first.author,
        message_id=first.sent_id,
        change_id=change,
        base_commit=base if re.fullmatch(r"[0-9a-f]{7,64}", base) else "",
        head=first.raw.partition(b"\n\n")[0],
        sent=first.sent,
        notes=(f"{needed} other patches have to be applied before it (prerequisite-patch-id)",) if needed else (),
    )


def _range(spec: str, path: Path, words: str, deadline: Deadline) -> Series:
    """The commits of a range, as git-format-patch(1) writes them; the user's repository is only read."""
    base, _, topic = words.partition("..")
    if topic.startswith("."):
        raise RequestError(f"{words} has three dots", hint=f"the commits of a topic are {base}..{topic[1:]}")
    above = [path.absolute(), *path.absolute().parents]
    checkout = next((found for each in above if (found := Checkout.of(each, deadline))), None)
    if checkout is None:
        hint = f"of a repository that is elsewhere: PATH@{words}"
        raise RequestError(f"{path.absolute()} is in no git repository, so there is no range {words}", hint=hint)
    ends = [_commit(checkout, word or "HEAD", deadline) for word in (base, topic)]
    shallow = checkout.git("rev-parse", "--path-format=absolute", "--git-path", "shallow", deadline=deadline)
    with cache.scratch("range") as scratch, cache.writing(scratch):
        # In a repository of ours no setting, attribute or hook of theirs is in force, and nothing can be fetched.
        ours = Repository(scratch / "repository")
        ours.make(checkout.objects, deadline, checkout.form)
        if (file := Path(shallow.rstrip("\n"))).is_file():
            shutil.copyfile(file, ours.path / "shallow")
        fork, commits = _linear(ours, words, ends, deadline)
        ours.git(*FORMAT, "--output-directory", scratch / "patches", f"{fork}..{ends[1]}", deadline=deadline)
        files = [file.read_bytes() for file in sorted((scratch / "patches").iterdir())]
    patches = tuple(each for data in files for each in mail.split(data) if each.is_patch)
    if not patches:
        raise RequestError(f"the commits of {words} change nothing", hint="a range is BASE..TOPIC, the older end first")
    series = _of_files(spec, Files(patches))
    title = series.patches[0].subject if len(series.patches) == 1 else words
    left = commits - len(series.patches)
    notes = (f"commits that change nothing, and are left out: {left}",) if left else ()
    return replace(series, title=title, base_commit=fork, notes=notes)


def _commit(checkout: Checkout, word: str, deadline: Deadline) -> str:
    words = ("rev-parse", "--verify", "--end-of-options", f"{word}^{{commit}}")
    try:
        return checkout.git(*words, deadline=deadline).strip()
    except GitError as error:
        where = checkout.top or checkout.directory
        hint = f"git -C {where} log --oneline --all"
        raise RequestError(f"{where} has no revision {word!r}", cause=error.cause, hint=hint) from error


def _linear(ours: Repository, words: str, ends: list[str], deadline: Deadline) -> tuple[str, int]:
    """Where a range forks off, and how many commits it has. Raises RequestError if they are no line."""
    base, topic = ends
    try:
        fork = ours.git("merge-base", base, topic, deadline=deadline).split()[0]
    except GitError as error:
        hint = "a range is BASE..TOPIC of one history"
        raise RequestError(f"the ends of {words} have no commit in common", hint=hint) from error
    rows = ours.git("log", "--format=%p\t%h %s", f"{fork}..{topic}", deadline=deadline).splitlines()
    if not rows:
        raise RequestError(f"no commits are in {words}", hint="a range is BASE..TOPIC, the older end first")
    if merge := next((row for row in rows if " " in row.partition("\t")[0]), ""):
        raise RequestError(
            f"the commits of {words} are no line of patches",
            cause=f"{merge.partition(chr(9))[2]} is a merge",
            hint="name what is after it, or rebase the topic (`git rebase` leaves merges out)",
        )
    return fork, len(rows)
