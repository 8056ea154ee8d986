# SPDX-License-Identifier: GPL-2.0-only
"""What is in a mailbox: which series, in which revisions, and which mails belong to the one that was asked for.

A sending is what was sent together: a cover letter and its patches, found by their threading. A posting is one
revision: a sending, and what was sent of it again. A series has one posting or more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.errors import RequestError
from harness.mail import THREAD, Mail, trailer

#: Series that are named when there are several.
NAMED = 12
#: Bytes of a patch, and of an answer, that b4 is given. It takes 12 s for a patch of 4 MB, and a minute and a half for
#: one of 8 MB; trailers are not found in what is longer than a list lets through.
LONGEST_PATCH = 4 << 20
LONGEST_ANSWER = 256 << 10


@dataclass(frozen=True)
class Posting:
    """One revision of a series, as it was sent: its mails, the oldest first."""

    mails: tuple[Mail, ...]

    @cached_property
    def cover(self) -> Mail | None:
        """The latest cover letter."""
        return next((mail for mail in reversed(self.mails) if mail.is_cover), None)

    @property
    def patches(self) -> list[Mail]:
        """Its patches, in the order of their numbers."""
        return sorted((mail for mail in self.mails if mail.is_patch), key=lambda mail: mail.subject.n)

    @property
    def first(self) -> Mail:
        """What speaks for it: the cover letter, else the first patch."""
        return self.cover or self.patches[0]

    @property
    def title(self) -> str:
        """The subject of its cover letter, else of its first patch."""
        return self.first.subject.text

    @property
    def revision(self) -> int:
        """The number after the v."""
        return max(mail.subject.revision for mail in self.mails)

    @property
    def of(self) -> int:
        """How many patches it should have."""
        return max(1, *(max(mail.subject.n, mail.subject.of) for mail in self.mails))

    @property
    def sent(self) -> int:
        """When the first of it was sent."""
        return self.mails[0].sent

    def __str__(self) -> str:
        there = len({mail.subject.n for mail in self.patches})
        count = f"{there} of {self.of} patches" if there < self.of else f"{there} patch{'es' * (there > 1)}"
        return f"v{self.revision} of {self.title!r}, {count}, by {self.first.author}"


@dataclass(frozen=True)
class Choice:
    """A posting that was chosen, and what b4 needs to make a series of it."""

    posting: Posting
    #: Its mails, each of them once; those of its other revisions, and the answers to all of them; the oldest first.
    thread: tuple[Mail, ...]
    #: Which of the revisions in the thread it is, 0 if there is no other.
    revision: int
    #: The one before it, if that is in the box: "v1, <message id>".
    earlier: str
    notes: tuple[str, ...]


def groups(mails: Sequence[Mail], keys: Callable[[Mail], Iterable[Hashable]]) -> list[tuple[Mail, ...]]:
    """``mails`` in groups: two with a key in common are in one."""
    leader: dict[Hashable, Hashable] = {}

    def found(key: Hashable) -> Hashable:
        while (above := leader.setdefault(key, key)) != key:
            leader[key] = key = leader[above]
        return key

    for mail in mails:
        mine = ("mail", mail.id)
        for key in keys(mail):
            leader[found(key)] = found(mine)
    together: dict[Hashable, list[Mail]] = {}
    for mail in mails:
        together.setdefault(found(("mail", mail.id)), []).append(mail)
    return [tuple(group) for group in together.values()]


def _age(posting: Posting) -> tuple[int, int]:
    """Which of two postings of a series is the newer one."""
    return posting.revision, posting.sent


class Mailbox:
    """The mails of a box by the series they belong to. ``where``: what the box is called in messages."""

    def __init__(self, mails: Iterable[Mail], where: str) -> None:
        self.where = where
        self.known: dict[str, Mail] = {}
        for mail in mails:
            self.known.setdefault(mail.id, mail)  # what came by several lists is the same mail
        self.mails = sorted(self.known.values(), key=lambda mail: (mail.sent, mail.id))
        self._answered = {each for mail in self.mails for each in mail.parents}
        parts = [mail for mail in self.mails if mail.is_cover or (mail.is_patch and not self._quotes(mail))]
        titles: dict[tuple[int, int, int], set[str]] = {}
        for mail in filter(self._is_loose, parts):
            titles.setdefault((mail.subject.revision, mail.subject.of, mail.subject.n), set()).add(mail.subject.text)
        #: Revisions and lengths that several loose series have.
        self._clashes = {sort[:2] for sort, texts in titles.items() if len(texts) > 1}
        self._sendings = groups(parts, self._threaded)
        sending = {mail: number for number, some in enumerate(self._sendings) for mail in some}
        postings = groups(parts, lambda mail: (("sending", sending[mail]), ("same", mail.subject, mail.address)))
        self._postings = {mail: posting for posting in map(Posting, postings) for mail in posting.mails}
        firsts = [mail for mail, posting in self._postings.items() if mail is posting.first]
        #: Each with its postings. Without a patch it is none.
        self.series = [[self._postings[mail] for mail in each] for each in groups(firsts, self._related)]
        self.series = [each for each in self.series if any(posting.patches for posting in each)]

    def _quotes(self, mail: Mail) -> bool:
        """Whether it is somebody's answer that kept the subject and quotes the patch without a mark."""
        parent = self.known.get(mail.parents[0]) if mail.parents else None
        if parent is None or parent.address == mail.address:
            return False
        return mail.subject.counted and parent.subject == mail.subject

    def _threaded(self, mail: Mail) -> Iterator[Hashable]:
        """What mails that were sent together have in common."""
        if not mail.subject.counted:
            return  # one patch for itself
        sort = (mail.subject.revision, mail.subject.of)
        near = [each for each in mail.parents if each in self.known and self._leads(self.known[each], mail)]
        if near:
            yield from (("mail", each) for each in near)
        elif mail.parents and not mail.is_cover:
            yield ("under", mail.parents[0], sort)
        elif self._is_loose(mail):
            yield ("loose", sort, mail.address if sort in self._clashes else "")

    def _leads(self, above: Mail, mail: Mail) -> bool:
        """Whether a mail that another one answers was sent together with it."""
        one, two = above.subject, mail.subject
        # Some say the revision in the cover letter only.
        same = one.revision == two.revision or (above.is_cover and two.revision == 1)
        return same and one.counted and one.of == two.of and not one.reply

    def _is_loose(self, mail: Mail) -> bool:
        """Whether it is one of several that were sent together without any threading."""
        alone = mail.parents or (mail.is_cover and mail.id in self._answered)
        return mail.subject.of > 1 and not alone

    def _related(self, first: Mail) -> Iterator[Hashable]:
        """What two revisions of a series have in common."""
        posting = self._postings[first]
        yield ("title", posting.title.lower(), first.address)
        for mail in posting.mails:
            if (mail.is_cover or mail is first) and (change := trailer(mail.text, "change-id")):
                yield ("change", change)
            for above in (self._postings.get(self.known[each]) for each in mail.parents if each in self.known):
                if above and above.revision != posting.revision and above.first.address == first.address:
                    yield ("mail", above.first.id)

    def chosen(self, which: str = "") -> Choice:
        """The posting that ``which`` names, a message id or a revision ("v2").

        Without it the newest of the only series. Raises RequestError if there is none, or several to choose from.
        """
        if not self.series:
            self._refuse()
        if which in self.known or "@" in which:
            return self._choice(self._by_id(which), which)
        there = self.series
        if which:
            there = [its for each in there if (its := [post for post in each if f"v{post.revision}" == which])]
            if not there:
                have = {f"v{posting.revision}" for each in self.series for posting in each}
                cause = f"it has {', '.join(sorted(have))}"
                raise RequestError(f"{self.where} has no revision {which}", cause=cause, hint=THREAD)
        newest = [max(each, key=_age) for each in there]
        if len(newest) > 1:
            lines = [f"{self.where}@{posting.first.id} is {posting}" for posting in newest[:NAMED]]
            lines += [f"and {len(newest) - NAMED} more"] if len(newest) > NAMED else []
            hint = "say which, in the words before the is; the id of any mail of a series will do"
            cause = "\n         ".join(lines)
            raise RequestError(f"{len(newest)} series are in {self.where}", cause=cause, hint=hint)
        return self._choice(newest[0], "")

    def _refuse(self) -> None:
        heads = [repr(mail.field("Subject")) for mail in self.mails if not mail.subject.reply][:3]
        many = f"{len(self.mails)} mails" if len(self.mails) > 1 else "one mail"
        raise RequestError(
            f"no patch is in {self.where}",
            cause=f"it has {many}{': ' * bool(heads)}{', '.join(heads)}",
            hint=THREAD,
        )

    def _by_id(self, which: str) -> Posting:
        """The posting that has this mail, or one that it answers."""
        if which not in self.known:
            raise RequestError(f"no mail <{which}> is in {self.where}", hint=THREAD)
        seen, above = set[str](), [which]
        while above:
            mail = self.known[above.pop(0)]
            if posting := self._postings.get(mail):
                return posting
            seen.add(mail.id)
            above += [each for each in mail.parents if each in self.known and each not in seen]
        raise RequestError(f"<{which}> of {self.where} is neither a patch nor the answer to one", hint=THREAD)

    def _choice(self, posting: Posting, which: str) -> Choice:
        """With all that b4 needs to know of."""
        copies, notes = self._counting(posting, which)
        if long := next((mail for mail in copies if len(mail.raw) > LONGEST_PATCH), None):
            raise RequestError(
                f"a patch in {self.where} is too big for b4",
                cause=f"{long} has {len(long.raw) >> 20} MB; more than {LONGEST_PATCH >> 20} MB would take it minutes",
                hint="apply it to a git repository with git-am, and name what comes out: PATH@BASE..TOPIC",
            )
        series = next(each for each in self.series if posting in each)
        revisions = sorted({each.revision for each in series})
        # b4 can tell two revisions only if each patch says which it is of.
        several = len(revisions) > 1 and all(mail.subject.revision == posting.revision for mail in posting.patches)
        for revision in revisions:
            if several and revision != posting.revision:
                other = max((each for each in series if each.revision == revision), key=lambda each: each.sent)
                others = self._counting(other, "")[0]
                copies |= {mail: its for mail, its in others.items() if len(mail.raw) <= LONGEST_PATCH}
        if len(revisions) > 1:
            have = ", ".join(f"v{number}" for number in revisions)
            notes.append(f"{self.where} has {have} of it; this is v{posting.revision}")
        every = self._answers(copies)
        answers = [mail for mail in every if len(mail.raw) <= LONGEST_ANSWER]
        if len(answers) < len(every):
            notes.append(f"answers that are too long to look for trailers in: {len(every) - len(answers)}")
        thread = sorted((*copies, *answers), key=lambda mail: (mail.sent, mail.id))
        earlier = max((each for each in series if each.revision < posting.revision), key=_age, default=None)
        before = f"v{earlier.revision}, <{earlier.first.id}>" if earlier else ""
        return Choice(posting, tuple(thread), posting.revision if several else 0, before, tuple(notes))

    def _counting(self, posting: Posting, which: str) -> tuple[dict[Mail, list[Mail]], list[str]]:
        """The mails that count, each with the copies of it that do not; and what is to be said of that.

        It is the latest that counts, or that of the sending asked for.
        """
        asked = next((some for some in self._sendings if any(mail.id == which for mail in some)), ())
        by_number: dict[int, list[Mail]] = {}
        for mail in posting.mails:
            by_number.setdefault(-1 if mail.is_cover else mail.subject.n, []).append(mail)
        kept: dict[Mail, list[Mail]] = {}
        again = []
        for n, mails in sorted(by_number.items()):
            counts = next((mail for mail in reversed(mails) if mail in asked), mails[-1])
            kept[counts] = [mail for mail in mails if mail is not counts]
            for mail in kept[counts]:
                answer = mail.id in counts.parents or counts.id in mail.parents
                if mail.subject.text != counts.subject.text and not answer:
                    raise RequestError(
                        f"two patches of {self.where} are {n}/{posting.of} of the same series",
                        cause=f"{mail} and {counts}",
                        hint="leave one of them out of the mailbox",
                    )
            again += [f"{n}/{posting.of}" if n > 0 else "the cover letter" if n else "it"] * bool(kept[counts])
        if not again:
            return kept, []
        rule = "what was sent with that mail counts" if asked else "the latest counts"
        return kept, [f"sent more than once: {', '.join(again)}; {rule}"]

    def _answers(self, copies: Mapping[Mail, list[Mail]]) -> list[Mail]:
        """The answers to all of that; those to a copy are made answers to what counts, if the patch is the same."""
        instead = {copy.id: mail.id for mail, others in copies.items() for copy in others if copy.diff == mail.diff}
        children: dict[str, list[Mail]] = {}
        for mail in self.mails:
            for each in mail.parents:
                children.setdefault(each, []).append(mail)
        found: dict[str, Mail] = {}
        todo = [*(mail.id for mail in copies), *instead]
        while todo:
            for mail in children.get(todo.pop(), ()):
                if mail.id not in found and not (mail.is_patch or mail.is_cover):
                    found[mail.id] = mail
                    todo.append(mail.id)
        return [mail.answering(instead) for mail in found.values()]
