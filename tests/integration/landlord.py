"""A landlord's project under git and DVC, as its user keeps it: raw data pinned, a pipeline that makes model and reference."""

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.project import CALM, Project

RAW = '''
"""What the landlord knows of rents: writes the raw data; `year` makes another vintage of them."""
import sys
import duckdb
import numpy as np
import pandas as pd

rng = np.random.default_rng(int(sys.argv[1]))
area = rng.normal(70, 20, 1200).round(1)
rows = pd.DataFrame({"area": area, "floor": rng.integers(0, 9, 1200), "rent": 11 * area + rng.normal(0, 40, 1200)})
duckdb.from_df(rows).write_parquet("data/rents.parquet")
'''
TRAIN = """
import duckdb
import skops.io
import yaml
from sklearn.linear_model import Ridge

rents = duckdb.read_parquet("data/rents.parquet").df()
alpha = yaml.safe_load(open("params.yaml"))["alpha"]
skops.io.dump(Ridge(alpha=alpha).fit(rents[["area", "floor"]][:800], rents["rent"][:800]), "model.skops")
duckdb.from_df(rents[800:]).write_parquet("held/reference.parquet")
"""
PIPELINE = """
stages:
  train:
    cmd: mkdir -p held && python train.py
    deps: [data/rents.parquet, train.py]
    params: [alpha]
    outs: [model.skops, held]
"""
BUILD = ("model.skops", "--reference", "held/reference.parquet", "--label", "rent", "--name", "rents")


class Landlord(Project):
    """The project folder, with `git` and `dvc` at hand."""

    def __init__(self, folder: Path, dvc: Path) -> None:
        super().__init__(folder)
        self._dvc = dvc

    def tool(self, *command: object) -> str:
        """Run git, dvc or python as the user would."""
        words = [str(word) for word in command]
        program = str(self._dvc) if words[0] == "dvc" else words[0]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [program, *words[1:]],
            cwd=self.folder,
            env=os.environ
            | CALM
            | {"PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder / ".dvc" / "site")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Everything that git is to know; the commit."""
        self.tool("git", "add", "--all")
        self.tool("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", message)
        return self.tool("git", "rev-parse", "HEAD")

    def begin(self, remote: Path) -> str:
        """Write the project, run its pipeline, push the data, commit."""
        for name, text in (
            ("raw.py", RAW),
            ("train.py", TRAIN),
            ("dvc.yaml", PIPELINE),
            ("params.yaml", "alpha: 1.0\n"),
        ):
            (self.folder / name).write_text(text)
        (self.folder / "data").mkdir()
        (self.folder / ".gitignore").write_text("/holdfast.toml\n")
        self.tool("git", "init", "-q")
        self.tool("dvc", "init", "-q")
        self.tool("dvc", "remote", "add", "-q", "-d", "store", remote)
        return self.vintage(0)

    def vintage(self, seed: int) -> str:
        """New raw data, and all that follows from them; the commit."""
        self.tool("python", "raw.py", seed)
        self.tool("dvc", "add", "-q", "data/rents.parquet")
        self.tool("dvc", "repro", "-q")
        self.tool("dvc", "push", "-q")
        return self.commit(f"rents of vintage {seed}")

    def clone(self, folder: Path, *wanted: str) -> "Landlord":
        """Another checkout, with the wanted files pulled from the remote."""
        self.tool("git", "clone", "-q", self.folder, folder)
        other = Landlord(folder, self._dvc)
        other.tool("dvc", "pull", "-q", *wanted)
        return other
