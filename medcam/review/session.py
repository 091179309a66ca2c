"""One reader's sitting with one case: hidden -> locked -> revealed -> judged; without a first read from revealed on.

A session knows what may be shown; it never shows anything itself. Steps return the session they lead to.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from medcam.errors import UsageError
from medcam.findings import Agreement, Case, Verdict
from medcam.review.verdicts import FirstAnswer, add_verdict, first_read, lock_first_read, verdicts_of

Stage = Literal["hidden", "locked", "revealed", "judged"]

WHY = ("wrong place", "artefact", "normal structure", "finding missed", "other")
"""What a reader may find wrong with a result."""

FIRST_ANSWERS: tuple[FirstAnswer, ...] = get_args(FirstAnswer)
AGREEMENTS: tuple[Agreement, ...] = get_args(Agreement)


@dataclass(frozen=True)
class Session:
    """Begin with `begin`; the reader's name may still be empty, but then nothing can be locked or judged."""

    folder: Path
    case_key: str
    reader: str
    stage: Stage
    first_answer: str = ""
    """The locked first read; "" if none was asked."""

    @property
    def shows_ai(self) -> bool:
        """Whether anything of the AI's result, or of others' verdicts on it, may reach the reader's screen."""
        return self.stage in ("revealed", "judged")

    def lock(self, answer: FirstAnswer) -> "Session":
        """Store what the reader sees without the AI; it cannot be changed afterwards.

        Raises:
            UsageError: the AI was shown already, or `lock_first_read` refuses.
        """
        self._demand("hidden")
        lock_first_read(self.folder, self.case_key, self.reader, answer)
        return replace(self, stage="locked", first_answer=answer)

    def reveal(self) -> "Session":
        """Let the AI be shown, once the first read is locked.

        Raises:
            UsageError: the first read is not locked.
        """
        self._demand("locked")
        return replace(self, stage="revealed")

    def judge(self, case: Case, agreement: Agreement, reason: str = "", comment: str = "") -> tuple["Session", Verdict]:
        """Store the reader's verdict on what was shown; later ones are new entries.

        Args:
            case: as it was shown, so that the verdict names the model that the reader saw.
            agreement: with the AI's result.
            reason: one of `WHY`; a rejection needs one.
            comment: free text.

        Raises:
            UsageError: the AI is still hidden, the reason is missing or unknown, or `add_verdict` refuses.
        """
        self._demand("revealed", "judged")
        if agreement == "reject" and not reason:
            raise UsageError("no-reason", "Choose what is wrong with the result: a rejection needs a reason.")
        if reason and reason not in WHY:
            raise UsageError("unknown-reason", f"A reason is one of: {', '.join(WHY)}.")
        model = case.provenance
        verdict = Verdict(
            case_key=self.case_key,
            reader=self.reader,
            agreement=agreement,
            reason=reason,
            comment=comment.strip(),
            model_version=model.model_version,
            model_hash=model.model_hash,
            first_read=self.first_answer,
        )
        return replace(self, stage="judged"), add_verdict(self.folder, verdict)

    def _demand(self, *stages: Stage) -> None:
        if self.stage not in stages:
            raise UsageError(
                "wrong-stage", f"This reading is {self.stage}; that step belongs to {' or '.join(stages)}."
            )


def begin(folder: Path, case_key: str, reader: str, hidden: bool) -> Session:
    """The reader's session with a case, where an earlier sitting has left it.

    Args:
        folder: the results folder.
        case_key: the case.
        reader: may be empty as long as nothing is to be saved.
        hidden: ask for a first read before the AI is shown. Who has judged the case before has seen the AI already.
    """
    reader = reader.strip()
    locked = first_read(folder, case_key, reader)
    judged = bool(reader) and any(verdict.reader == reader for verdict in verdicts_of(folder, case_key))
    stage: Stage = "judged" if judged else "revealed" if not hidden else "locked" if locked else "hidden"
    return Session(folder, case_key, reader, stage, locked.answer if locked else "")
