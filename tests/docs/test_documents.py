"""Documentation cannot lie: every block of the README and of docs/ is executed, each document from top to bottom.

- `python`: run in one namespace per document (`>>>` blocks as doctests, their output compared).
- `console`: a transcript. Lines after `$ ` are typed into one shell per document (`> ` continues a command), each
  must exit 0 (to show a refusal, end the line with `; echo "exit $?"`). Lines below a command are its expected
  output, compared if there are any; `...` stands for anything.
- `bash`: a script to copy; it must exit 0, its output is not compared.
- any language with a title, as in ```` ```toml title="holdfast.toml" ````: the file of that name is written.
- all else (`text`, `json`, ...) is shown only. `<!--- skip: next "reason" --->` leaves a block out, with its reason.

A document works in an empty folder of its own, and what it starts in the background ends with it.
"""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import SkipTest

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.example import SybilFailure
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
COMMAND_SECONDS = 200
EXECUTED = {"python", "console", "bash"}
SHOWN = {"", "csv", "css", "html", "ini", "json", "markdown", "mermaid", "sql", "text", "toml", "yaml"}
END_OF_COMMAND = "--- end of command"


class Shell:
    """One bash for a whole document, so that `cd`, variables and background jobs live on between blocks."""

    def __init__(self, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
            env=kept
            | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "HOME": str(folder)}
            | {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120", "LC_ALL": "C.UTF-8"},
        )

    def run(self, command: str) -> tuple[str, int]:
        """What the command printed, and its exit status."""
        assert self.process.stdin
        assert self.process.stdout
        # Braces, not a subshell: `cd` must last. No stdin: a command that asks would eat the next one.
        self.process.stdin.write(f"{{ {command}\n}} </dev/null; printf '\\n{END_OF_COMMAND} %d\\n' $?\n".encode())
        self.process.stdin.flush()
        said = b""
        deadline = time.monotonic() + COMMAND_SECONDS
        while not (end := re.search(rf"\n{END_OF_COMMAND} (\d+)\n".encode(), said)):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                raise AssertionError(
                    f"no end after {COMMAND_SECONDS} s, or the shell ended: {command}\n{said.decode()}"
                )
            said += chunk
        return said[: end.start()].decode(), int(end.group(1))

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()

    # The two kinds of block.

    def script(self, example: Example) -> None:
        # The first failing line ends the shell, and with it the document.
        self.run(f"set -e\n{example.parsed}\nset +e")

    def transcript(self, example: Example) -> str | None:
        for command, expected in read_transcript(str(example.parsed)):
            said, status = self.run(command)
            if status:
                return f"$ {command}\nexit {status}\n{said}"
            if expected and not says(said, expected):
                return f"$ {command}\n--- expected\n{expected}\n--- said\n{said}"
        return None


def read_transcript(text: str) -> list[tuple[str, str]]:
    """The commands of a transcript, each with the output shown below it."""
    steps: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], ""))
            continue
        if not steps:
            raise AssertionError(f"a console block starts with `$ `, not with: {line}")
        command, output = steps[-1]
        if not output and (line.startswith("> ") or command.endswith("\\")):
            steps[-1] = (f"{command}\n{line.removeprefix('> ')}", "")
        else:
            steps[-1] = (command, f"{output}{line}\n")
    return [(command, output.strip()) for command, output in steps]


def says(said: str, expected: str) -> bool:
    """Line ends aside the same, where `...` is anything."""
    lines = [re.escape(line.rstrip()).replace(re.escape("..."), ".*") for line in expected.splitlines()]
    return re.fullmatch("\n".join(lines), "\n".join(map(str.rstrip, said.strip().splitlines())), re.DOTALL) is not None


def write_titled_files(document: Document) -> Iterator[Region]:
    """A block with a title is a file of the reader's project."""
    lexer = RawFencedCodeBlockLexer(re.compile(r'\w+ title="(?P<title>[^"]+)"$\n', re.MULTILINE))

    def write(example: Example) -> None:
        title, text = example.parsed
        path = Path(title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    for region in lexer(document):
        region.parsed = (region.lexemes["title"], str(region.lexemes["source"]))
        region.evaluator = write
        yield region


def execute(path: Path, folder: Path) -> None:
    """Run the document at `path` from top to bottom; the current directory is `folder`."""
    shell = Shell(folder)
    parsers = [
        PythonCodeBlockParser(),
        CodeBlockParser("console", shell.transcript),
        CodeBlockParser("bash", shell.script),
        write_titled_files,
        SkipParser(),
    ]
    try:
        for example in Sybil(parsers=parsers).parse(path).examples():
            try:
                example.evaluate()
            except SkipTest as skipped:
                if not str(skipped).strip():
                    raise AssertionError(f"{path}:{example.line}: say why this block is not run") from skipped
    finally:
        shell.close()


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.xdist_group("docs")  # one at a time: documents use the default ports, as their readers do
@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_what_it_shows_is_what_happens(path, workspace):
    execute(path, workspace)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_no_block_escapes_by_its_spelling(path):
    fences = re.findall(r"^ *```+ *([^`\n]*)$", path.read_text(encoding="utf-8"), re.MULTILINE)[::2]
    for info in fences:
        known = info in EXECUTED | SHOWN or re.fullmatch(r'\w+ title="[^"]+"', info)
        assert known, f"```{info} would be neither run nor written: see the list at the top of this file"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_a_skipped_block_says_why(path):
    skips = re.findall(r"<!--+ *skip: *(\w+)(.*?)-->", path.read_text(encoding="utf-8"))
    for action, reason in skips:
        assert action == "end" or '"' in reason, f"skip: {action} without a reason"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_inside_the_repository_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing


# The runner itself: a runner that accepts everything would let every document lie.


def run_text(folder: Path, text: str) -> None:
    path = folder / "document.md"
    path.write_text(text, encoding="utf-8")
    execute(path, folder)


def test_blocks_share_a_shell_a_folder_and_a_namespace(workspace):
    run_text(
        workspace,
        '```toml title="conf/a.toml"\nx = 1\n```\n\n'
        "```bash\ncd conf\nexport NAME=town\n```\n\n"
        "```console\n$ cat a.toml\nx = 1\n$ echo $NAME \\\n  two\n$ false; echo exit $?\nexit 1\n```\n\n"
        "```python\nimport pathlib\ny = 2\n```\n\n```python\nassert pathlib.Path('conf/a.toml').exists() and y == 2\n```\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    "block",
    [
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ echo one; false\none\n```\n",
        "```bash\nfalse\ntrue\n```\n",
        "```python\nassert 1 == 2\n```\n",
        "```python\n>>> 1 + 1\n3\n```\n",
        "```console\necho no prompt\n```\n",
    ],
)
def test_a_wrong_document_is_refused(workspace, block):
    with pytest.raises((SybilFailure, AssertionError)):
        run_text(workspace, block)


def test_dots_stand_for_anything():
    assert says("served http://127.0.0.1:4711/ in 3 ms\n", "served http://127.0.0.1:.../ in ... ms")
    assert says("a\nb\nc\n", "a\n...\nc")
    assert not says("a\nb\n", "a")


def test_background_jobs_end_with_their_document(workspace):
    job = "(trap 'touch ended; exit' TERM; touch ready; while :; do sleep 0.1; done) &\nuntil [ -e ready ]; do sleep 0.1; done"
    run_text(workspace, f"```bash\n{job}\n```\n")
    assert (workspace / "ended").exists()
