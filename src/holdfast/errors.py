"""Every error that Holdfast raises on purpose, in one tree.

Each says *what* was wrong, *where* (a file, field, row or name) and what to do *next*; each class has a stable code.
Doors translate: the CLI prints `error[CODE]: what, where` and a `next:` line and leaves with `exit_code`; HTTP answers
`status` as an RFC 9457 problem. Nothing else in the code knows about exit codes or status numbers.

    HoldfastError
    ├── UsageError            wrong flag, wrong argument                    exit 2, 400
    │   └── MissingExtra      an optional part is not installed
    ├── NotFound              no such deployment, release, alarm, model     404
    ├── Conflict              the state does not allow it                   409
    ├── InvalidInput          a request or file breaks the contract         422
    │   ├── MalformedRequest  not the protocol at all: broken JSON          400
    │   └── TooLarge          more than this server takes at once           413
    ├── Overloaded            shed early; try again later                   503
    │   ├── TooMany           over this key's rate or daily budget          429
    │   ├── TooLate           not answered within the caller's deadline     504
    │   └── ModelDown         the model's own process is being started      503
    ├── Unauthorized          no key, or none that is known                 401
    ├── Forbidden             the key is not for this                       403
    ├── NoSandbox             this machine cannot contain a child process   exit 2
    ├── RegistryError         the model registry or the model file
    │   └── UntrustedPickle   a pickle without the user's explicit word
    ├── BuildError            a release could not be built
    │   ├── Unconvertible     this model has no exact ONNX form
    │   ├── ParityFailure     the built model answers differently
    │   ├── MovedData         data, or a file made from them, are not what the project pinned
    │   └── ObjectivesUnmet   no variant of the model does what was asked of it   exit 3
    ├── ReleaseError          a release is not what it claims to be
    │   ├── Tampered          a byte, file or signature does not match
    │   ├── Untrusted         signed by a key that this workspace does not trust
    │   │   └── KeyEnded      signed by a key that has expired or was revoked
    │   └── BadArchive        a release archive that is none, or means harm
    ├── WorkspaceError        workspace missing, damaged or from a newer version
    ├── GateRefused           a gate, check or alarm says no                exit 3
    └── ServeError            port in use, server not running, log not writable
        └── LogFull           no space left for the prediction log
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

__all__ = [
    "BadArchive",
    "BuildError",
    "Conflict",
    "Forbidden",
    "GateRefused",
    "HoldfastError",
    "InvalidInput",
    "KeyEnded",
    "LogFull",
    "MalformedRequest",
    "MissingExtra",
    "ModelDown",
    "MovedData",
    "NoSandbox",
    "NotFound",
    "ObjectivesUnmet",
    "Overloaded",
    "ParityFailure",
    "RegistryError",
    "ReleaseError",
    "ServeError",
    "Tampered",
    "TooLarge",
    "TooLate",
    "TooMany",
    "Unauthorized",
    "Unconvertible",
    "Untrusted",
    "UntrustedPickle",
    "UsageError",
    "WorkspaceError",
]


class HoldfastError(Exception):
    """What was wrong, where, and what to do next."""

    code: ClassVar[str] = "HF000"
    exit_code: ClassVar[int] = 1
    status: ClassVar[int] = 500

    def __init__(self, what: str, where: str = "", next_step: str = "") -> None:
        super().__init__(what, where, next_step)
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        place = f", {self.where}" if self.where else ""
        return f"{self.what}{place}"

    def as_dict(self) -> dict[str, str]:
        """The fields a machine reads (`--json`, HTTP)."""
        return {"code": self.code, "what": self.what, "where": self.where, "next": self.next_step}

    def as_problem(self) -> dict[str, str | int]:
        """An RFC 9457 problem, with the member `error` that Open Inference Protocol clients read."""
        told = str(self)
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": told,
            "code": self.code,
            "where": self.where,
            "next": self.next_step,
            "error": told,
        }


class UsageError(HoldfastError):
    """A flag or argument that makes no sense."""

    code = "HF100"
    exit_code = 2
    status = 400


class MissingExtra(UsageError):
    """An optional part is needed that is not installed."""

    code = "HF101"

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the extra holdfast[{extra}]", next_step=f"pip install 'holdfast[{extra}]'"
        )
        self.extra = extra


class NotFound(HoldfastError):
    """Nothing has that name."""

    code = "HF200"
    status = 404


class Conflict(HoldfastError):
    """The thing exists, but its state does not allow this."""

    code = "HF201"
    status = 409


class InvalidInput(HoldfastError):
    """A request, file or record breaks the contract; `row` and `field` say where."""

    code = "HF300"
    status = 422

    def __init__(
        self, what: str, where: str = "", next_step: str = "", *, field: str | None = None, row: int | None = None
    ) -> None:
        if not where and (field is not None or row is not None):
            where = ", ".join(
                part for part in (f"row {row}" if row is not None else "", f"field '{field}'" if field else "") if part
            )
        super().__init__(what, where, next_step)
        self.field = field
        self.row = row

    def as_problem(self) -> dict[str, str | int]:
        """The problem, and where in the input it is."""
        place = {"field": self.field, "row": self.row}
        return super().as_problem() | {name: value for name, value in place.items() if value is not None}


class MalformedRequest(InvalidInput):
    """The bytes are not the protocol's: broken JSON, a missing member, a wrong shape."""

    code = "HF301"
    status = 400


class TooLarge(InvalidInput):
    """More bytes or rows than this server takes in one request."""

    code = "HF302"
    status = 413


class Overloaded(HoldfastError):
    """Shed early so that accepted requests stay fast."""

    code = "HF310"
    status = 503
    retry_s: int = 1
    """Seconds until it is worth trying again (`Retry-After`); 0: never with this request."""


class TooMany(Overloaded):
    """More than this key may ask: its rate, or its rows of the day."""

    code = "HF311"
    status = 429


class TooLate(Overloaded):
    """The caller's deadline passed before the answer was there."""

    code = "HF312"
    status = 504
    retry_s = 0


class ModelDown(Overloaded):
    """The process of a Python model ended, or did not answer in time; it is started again."""

    code = "HF313"


class Unauthorized(HoldfastError):
    """No key came with the request, or none that this server knows."""

    code = "HF330"
    status = 401


class Forbidden(HoldfastError):
    """The key is known, and not for this."""

    code = "HF331"
    status = 403


class NoSandbox(HoldfastError):
    """A child process cannot be contained on this machine, so nothing foreign is opened in one."""

    code = "HF340"
    exit_code = 2


class RegistryError(HoldfastError):
    """The model registry could not give what was asked for."""

    code = "HF400"
    status = 502


class UntrustedPickle(RegistryError):
    """A pickle can run any code; it is opened only after the user's explicit word."""

    code = "HF401"
    exit_code = 2
    status = 400


class BuildError(HoldfastError):
    """A release could not be built; nothing was written."""

    code = "HF500"


class Unconvertible(BuildError):
    """The model has no exact ONNX form; `where` names the step or operator."""

    code = "HF501"


class ParityFailure(BuildError):
    """The built model answers differently from the original; the worst rows are in the message."""

    code = "HF502"


class MovedData(BuildError):
    """Data, or a file that was made from them, are not what the project pinned; or nobody has them any more."""

    code = "HF503"


class ObjectivesUnmet(BuildError):
    """No variant of the model does what was asked of it; the message says what is missing and by how much."""

    code = "HF504"
    exit_code = 3
    report: object = None
    """All that was measured."""


class ReleaseError(HoldfastError):
    """A release is not what it claims to be."""

    code = "HF600"


class Tampered(ReleaseError):
    """A byte, a file or a signature does not match the manifest."""

    code = "HF601"


class Untrusted(ReleaseError):
    """The signature is sound, but nobody here trusts its key."""

    code = "HF602"


class KeyEnded(Untrusted):
    """The signature is sound, but its key has expired or was revoked."""

    code = "HF603"


class BadArchive(ReleaseError):
    """An archive that Holdfast did not write: a path that leads out, a link, a bomb, or no release at all."""

    code = "HF604"
    status = 422


class WorkspaceError(HoldfastError):
    """The workspace is missing, damaged, locked or from a newer version."""

    code = "HF700"


class GateRefused(HoldfastError):
    """A gate, a comparison or an open alarm says no."""

    code = "HF800"
    exit_code = 3
    status = 409


class ServeError(HoldfastError):
    """The server could not do its work: port in use, log not writable, not running."""

    code = "HF900"
    status = 503

    @classmethod
    def unforeseen(cls, bad: Exception) -> ServeError:
        """What a client is told of an error that nobody foresaw; its door tells the rest on stderr."""
        wrong = cls("the server made a mistake", type(bad).__name__, "see the server's messages, and report it")
        wrong.status = 500  # type: ignore[misc]
        return wrong


class LogFull(ServeError):
    """The disk has no space for the prediction log; `fitted` of the records still went in whole."""

    code = "HF901"

    def __init__(self, what: str, where: str = "", next_step: str = "", *, fitted: int = 0) -> None:
        super().__init__(what, where, next_step)
        self.fitted = fitted
