"""Rows and source offsets in one commit, by a branch (docs/source-offsets.md, "Committing: the fence").

An engine's plain append is no fence: Iceberg looks at the newest head by itself and tries again. So a step's rows go to
a branch of their own, made at the head whose progress was checked. It is published by moving main and the tag
`k2-offsets` to it, and dropping the branch, in one commit, with the requirement that main still stands where it was
checked. That commit does not retry by itself: Iceberg's transaction refuses to apply changes of references to metadata
other than those they were made for (UpdateSnapshotReferencesOperation keeps its base, BaseTransaction fails on it), a
REST catalog is asked with assert-ref-snapshot-id for main and the tag, and other catalogs swap the metadata file they
know. Fast-forward alone would also pass where main was rolled back meanwhile; hence the check of main's snapshot
against the very metadata that the commit is built on.

Where main has moved, its progress is read again. The step's own keys moved: another writer was here, nothing is
published. Only other things moved (somebody's append, other partitions): the files are appended to a new branch at the
new head, with the others' keys taken over, and published from there.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from py4j.protocol import Py4JError

from k2.spark.dataframe.progress import (
    COMMIT_ID_KEY,
    NEWEST_KEY,
    Metadata,
    Move,
    check_fence,
    find_progress,
)
from k2.spark.dataframe.tables import JAVA_ERRORS, Table, java_causes, said
from k2.spark.schemas import OFFSETS_KEY, OFFSETS_TAG
from k2.spark.utils import age
from k2.spark.utils.age import ATTEMPT_AGE_S_MAX, LOOK_AGAIN_AFTER_S, Moment
from k2.spark.utils.committer import committer
from k2.spark.utils.errors import DataError, K2Error, RaceError, UnavailableError, UnknownOutcomeError
from k2.spark.utils.explain import explain

STAGE_PREFIX = "k2-stage-"
LEFT_OVER_AFTER_S = 24 * 3600.0  # by the clocks of two machines, of which neither need be right
ATTEMPTS_MAX = 20
DURATION_S_MAX = 60.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.002, 0.5

# The catalog, or Iceberg before it asked the catalog, has said no. Whatever else goes wrong may have been applied.
_REFUSED = {
    "CommitFailedException",
    "ValidationException",
    "IllegalArgumentException",
    "BadRequestException",
    "ForbiddenException",
    "NotAuthorizedException",
    "NoSuchTableException",
    "UnprocessableEntityException",
    "AlreadyExistsException",
}
_HOPELESS = {"ForbiddenException", "NotAuthorizedException", "NoSuchTableException"}

# Called with "staged", "checked", "published" between the steps of a commit: for tests.
StepHook = Callable[[str, Table], None]


@dataclass
class Published:
    """What a commit came to."""

    table: str
    snapshot_id: int
    rows: int
    files: int
    attempts: int
    write_s: float  # in which rows were written
    commit_s: float  # all else
    newest_us: int = 0  # Kafka's timestamp of the newest message; 0: not known


@dataclass
class Policy:
    attempts_max: int = ATTEMPTS_MAX
    duration_s_max: float = DURATION_S_MAX
    left_over_after_s: float = LEFT_OVER_AFTER_S
    on_step: StepHook | None = None
    now: Callable[[], Moment] = age.now


Write = Callable[[str, Mapping[str, str]], None]


@dataclass
class Staged:
    """A branch with the step's snapshot on it."""

    branch: str
    parent_id: int
    snapshot_id: int
    earlier: list[str] = field(default_factory=list)  # branches of tries that lost


class Publisher:
    """One commit of one table, with its tries."""

    def __init__(
        self,
        table: Table,
        move: Move,
        summary: Mapping[str, str],
        policy: Policy | None = None,
        confirm: Callable[[], None] | None = None,
        expected_rows: int | None = None,
        check: Callable[[Metadata], None] | None = None,
    ) -> None:
        self.check = check
        self.table = table
        self.move = move
        self.expected_rows = expected_rows
        self.confirm = confirm
        self.policy = policy or Policy()
        self.commit_id = str(uuid.uuid4())
        self.summary = dict(summary)
        self.attempts = 0
        self.branches: set[str] = set()
        self.unknown: str | None = None  # what was said when an outcome could not be learnt
        self.sent = False  # a request that may have been applied, or may be yet
        self.unseen: str | None = None  # what was said at a refusal after which nobody could look at main
        self.begun = self.looked = self.policy.now()  # no file of the step is older; when they were known to be there
        self.began = time.monotonic()
        self.writing_s = 0.0  # does not count where patience ends

    def publish(self, write: Write | None) -> Published:
        """`write` puts the rows on a branch, with the summary entries it is given; None: offsets alone.

        Raises AnotherWriterError, DataError or UnavailableError: certainly not applied. UnknownOutcomeError: perhaps.
        """
        uuid_before: str | None = None
        try:
            metadata = self.table.metadata_with_head()
            uuid_before = metadata.uuid
            remove_left_over(self.table, metadata, self.policy.left_over_after_s)
            staged = self._stage(write, uuid_before)
            self._count(staged)
            self._tell("staged")
            if self.confirm is not None:
                self.confirm()
            while not self._try(staged):
                staged = self._next(staged, uuid_before)
                self._back_off()
            self._tell("published")
            return self._result(staged)
        except UnknownOutcomeError:
            self.branches.clear()  # they keep what may still be published from being expired
            raise
        except (Py4JError, ConnectionError) as error:
            if not self.sent:
                raise
            self.branches.clear()
            raise self._not_learnt(f"Spark's Java process has ended: {said(error)}") from error
        finally:
            self._remove_branches()

    # Staging.

    def _summary_at(self, metadata: Metadata) -> dict[str, str]:
        """Checks the fence, and merges what others have committed."""
        found = find_progress(metadata)
        check_fence(self.move, found, self.table.key)
        if self.check is not None:
            self.check(metadata)
        document = found.progress.merged(self.move.next, self.move.drop).to_json(metadata.uuid)
        return {**self.summary, **committer(), COMMIT_ID_KEY: self.commit_id, OFFSETS_KEY: document}

    def _stage(self, write: Write | None, uuid_before: str, source: Staged | None = None) -> Staged:
        """A new branch at the head, with the rows that `write` writes or `source` holds."""
        while True:
            self._check_patience("the table was changed in every attempt")
            manage, metadata = self._manage()
            if metadata.uuid != uuid_before:
                raise DataError(f"{self.table.key} was dropped and recreated while this step ran; restart it")
            head = metadata.head_id
            assert head is not None
            summary = self._summary_at(metadata)
            branch = f"{STAGE_PREFIX}{int(time.time() * 1000)}-{uuid.uuid4().hex[:12]}"
            self.branches.add(branch)
            try:
                manage.createBranch(branch, head).commit()
            except JAVA_ERRORS as error:
                self._refused_only(error)
                self._back_off()
                continue
            break
        writing_since = time.monotonic()
        try:
            if write is not None:
                write(branch, summary)
            else:
                self._append(branch, summary, source)
        except JAVA_ERRORS as error:
            if not self._staged_at(branch, head):
                raise _translated(error, f"{self.table.key}: cannot write the rows") from error
        finally:
            self.writing_s += time.monotonic() - writing_since if write is not None else 0.0
        found = self._staged_at(branch, head)
        if not found:
            raise DataError(
                f"{self.table.key}: the branch {branch} was changed by a concurrent writer; nothing was committed"
            )
        return Staged(branch, head, found)

    def _append(self, branch: str, summary: Mapping[str, str], source: Staged | None) -> None:
        """Through Iceberg's API: no rows, or the files that an earlier branch holds."""
        append = self.table.java.newAppend().toBranch(branch)
        for name, value in summary.items():
            append = append.set(name, value)
        if source is not None:
            # Tells expiry by other engines that the files of that snapshot live on in this one.
            append = append.set("source-snapshot-id", str(source.snapshot_id))
            metadata = self.table.current()
            for file in self.table.added_files(metadata.snapshots[source.snapshot_id]):
                append = append.appendFile(file)
        append.commit()

    def _staged_at(self, branch: str, head: int) -> int:
        """The snapshot on the branch, if it is this commit's and stands on the checked head; else 0."""
        metadata = self.table.refresh()
        snapshot = metadata.snapshots.get(metadata.ref(branch) or 0)
        if snapshot is None or snapshot.summary.get(COMMIT_ID_KEY) != self.commit_id or snapshot.parent_id != head:
            return 0
        return snapshot.snapshot_id

    def _count(self, staged: Staged) -> None:
        """What was written must be what was counted before."""
        written = _number(self.table.current().snapshots[staged.snapshot_id].summary, "added-records")
        if self.expected_rows is not None and written != self.expected_rows:
            raise DataError(
                f"{self.table.key}: {written} rows were written, but {self.expected_rows} were counted; nothing was "
                "committed"
            )

    # Publishing.

    def _manage(self) -> tuple[Any, Metadata]:
        """A change of references, and the metadata it is built on: manageSnapshots() looks at the newest."""
        while True:
            try:
                manage = self.table.java.manageSnapshots()
                return manage, self.table.current()
            except JAVA_ERRORS as error:
                self._check_patience(said(error))
                self._back_off()

    def _try(self, staged: Staged) -> bool:
        """Whether the snapshot is on main now. False: main has moved, or the catalog could not say."""
        self.attempts += 1
        self._check_patience("the branch main changed in every attempt")
        manage, metadata = self._manage()
        if metadata.on_main(staged.snapshot_id):
            return True  # an earlier try whose reply was lost
        self.unseen = None
        if metadata.head_id != staged.parent_id:
            return False
        self._tell("checked")
        try:
            manage = manage.fastForwardBranch("main", staged.branch)
            tagged = OFFSETS_TAG in metadata.refs
            manage = (manage.replaceTag if tagged else manage.createTag)(OFFSETS_TAG, staged.snapshot_id)
            manage = manage.removeBranch(staged.branch)
            self._check_age(staged)
            self.sent = True
            manage.commit()
        except JAVA_ERRORS as error:
            # A refusal may be the answer to a request that a gateway sent twice: the next look at main tells.
            causes = set(java_causes(error))
            if not causes & _REFUSED:
                self.unknown = said(error)
            there = self._is_on_main(staged)
            self.unseen = said(error) if there is None else None
            if causes & _HOPELESS and (there is None or (self.unknown and not there)):
                raise self._not_learnt(self.unknown or said(error)) from error
            if causes & _HOPELESS and not there:
                raise _translated(error, f"{self.table.key}: the commit was refused") from error
            return bool(there)
        self.branches.discard(staged.branch)
        return True

    def _check_age(self, staged: Staged) -> None:
        """The driver may have slept since the rows were written. Raises RaceError: plan again."""
        why = self._timed_out()
        if why is None and age.age_s(self.looked, self.policy.now()) > LOOK_AGAIN_AFTER_S:
            looked = self.policy.now()
            why = self._gone(staged)
            self.looked = looked
            why = why or self._timed_out()
        if why is None:
            return
        if self.unknown is not None:
            raise self._not_learnt(f"{self.unknown}; then {why}")
        raise RaceError(f"{self.table.key}: {why}; nothing was committed")

    def _timed_out(self) -> str | None:
        old_s = age.age_s(self.begun, self.policy.now())
        if old_s <= ATTEMPT_AGE_S_MAX:
            return None
        return (
            f"the attempt timed out: it began {old_s / 60:.0f} minutes ago, and after {ATTEMPT_AGE_S_MAX / 60:.0f} "
            "minutes its files may have been removed as orphan files"
        )

    def _gone(self, staged: Staged) -> str | None:
        """Of the step's files the first that is not there as it was written."""
        path = staged.branch
        try:
            for file in self.table.added_files(self.table.current().snapshots[staged.snapshot_id]):
                path = str(file.path())
                if self.table.java.io().newInputFile(path).getLength() != file.fileSizeInBytes():
                    return f"the file {path} was changed before a commit could reference it"
        except JAVA_ERRORS as error:
            if not any("NotFound" in cause for cause in java_causes(error)):
                raise _translated(error, f"{self.table.key}: cannot check the rows that were written") from error
            return f"the file {path}, or a manifest that references it, was removed before a commit could reference it"
        return None

    def _is_on_main(self, staged: Staged) -> bool | None:
        """None: nobody can look."""
        try:
            return self.table.refresh().on_main(staged.snapshot_id)
        except UnavailableError:
            return None

    def _next(self, staged: Staged, uuid_before: str) -> Staged:
        """What to try next: the same again while main stands, else the same files on the new head."""
        try:
            metadata = self.table.refresh()
        except UnavailableError:
            return staged
        self.unseen = None
        if metadata.head_id == staged.parent_id or metadata.on_main(staged.snapshot_id):
            if metadata.ref(staged.branch) is None and not metadata.on_main(staged.snapshot_id):
                raise DataError(
                    f"{self.table.key}: the branch {staged.branch} is gone before it was published; nothing was "
                    "committed. Was it removed as a leftover of a crashed run?"
                )
            return staged
        # Main has gone on without the snapshot: a request that may still be under way asks for the old head in vain.
        self.unknown, self.sent = None, False
        return self._stage(None, uuid_before, staged)

    def _result(self, staged: Staged) -> Published:
        summary = self.table.current().snapshots[staged.snapshot_id].summary
        return Published(
            table=self.table.name,
            snapshot_id=staged.snapshot_id,
            rows=_number(summary, "added-records"),
            files=_number(summary, "added-data-files"),
            attempts=self.attempts,
            write_s=self.writing_s,
            commit_s=time.monotonic() - self.began - self.writing_s,
            newest_us=_number(summary, NEWEST_KEY),
        )

    def _remove_branches(self) -> None:
        for branch in sorted(self.branches):
            remove_branch(self.table, branch)

    # Patience.

    def _check_patience(self, why: str) -> None:
        waited_s = time.monotonic() - self.began - self.writing_s
        if self.attempts <= self.policy.attempts_max and waited_s < self.policy.duration_s_max:
            return
        unknown = self.unknown or self.unseen
        if unknown is not None:
            raise self._not_learnt(unknown)
        raise UnavailableError(
            f"{self.table.key}: cannot commit after {self.attempts} attempts: {why}; nothing was committed"
        )

    def _not_learnt(self, why: str) -> UnknownOutcomeError:
        return UnknownOutcomeError(
            f"{self.table.key}: unknown commit outcome ({why}). Its files are kept; start again to resume from the "
            "current state of the table"
        )

    def _back_off(self) -> None:
        ceiling = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(self.attempts, 10))
        time.sleep(random.uniform(BACKOFF_S_MIN, max(ceiling, BACKOFF_S_MIN)))

    def _refused_only(self, error: BaseException) -> None:
        """A branch may be tried again after a conflict, and after a lost reply: nothing reads it."""
        if set(java_causes(error)) & _HOPELESS:
            raise _translated(error, f"{self.table.key}: cannot create a branch") from error

    def _tell(self, step: str) -> None:
        if self.policy.on_step is not None:
            self.policy.on_step(step, self.table)


def _number(summary: Mapping[str, str], name: str) -> int:
    return int(summary.get(name, 0))


def _translated(error: BaseException, what: str) -> K2Error:
    told = explain(error, what)
    # Of a branch: whatever became of it, main does not have it.
    return UnavailableError(str(told)) if isinstance(told, UnknownOutcomeError) else told


def remove_branch(table: Table, branch: str, tries: int = 5) -> bool:
    """Whether it is gone. Nobody reads such a branch, so that trying again is safe; what stays behind is removed by a
    later step."""
    for attempt in range(tries):
        try:
            manage = table.java.manageSnapshots()
            if branch not in table.current().refs:
                return True
            manage.removeBranch(branch).commit()
            return True
        except (Py4JError, ConnectionError, *JAVA_ERRORS):
            time.sleep(random.uniform(0, 0.05 * 2**attempt))
    return False


def left_over_branches(metadata: Metadata, older_than_s: float) -> list[str]:
    """Branches that crashed steps have left behind, by the time in their names."""
    limit_ms = (time.time() - older_than_s) * 1000
    found = []
    for name in metadata.refs:
        made, _, _ = name.removeprefix(STAGE_PREFIX).partition("-")
        if name.startswith(STAGE_PREFIX) and made.isdigit() and int(made) < limit_ms:
            found.append(name)
    return sorted(found)


def remove_left_over(table: Table, metadata: Metadata, older_than_s: float = LEFT_OVER_AFTER_S) -> list[str]:
    """Removes them; their snapshots go with the table's expiry, and their files with these."""
    return [name for name in left_over_branches(metadata, older_than_s) if remove_branch(table, name)]


def publish(
    table: Table,
    move: Move,
    write: Write | None = None,
    summary: Mapping[str, str] | None = None,
    policy: Policy | None = None,
    confirm: Callable[[], None] | None = None,
    expected_rows: int | None = None,
    check: Callable[[Metadata], None] | None = None,
) -> Published:
    """Commits a step's rows and progress together; see Publisher.publish. `confirm` is asked once the rows are written,
    and may refuse by an error; so does a number of rows that is not the expected one, and `check`, which is asked about
    each head that the rows are to stand on."""
    return Publisher(table, move, summary or {}, policy, confirm, expected_rows, check).publish(write)
