"""What each command imports: torch, pandas and scipy take a second or more, and most commands need none of them.

Every command is a process of its own, which names its modules when it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradbench.core.version import VERSION
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from gradbench.report.story import CHAPTERS
from gradbench.results.columns import METRICS
from gradbench.suite.shipped import shipped

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results" / "reference"
MODEL = {"torch", "sklearn", "safetensors", "jaxtyping"}
"""What measuring takes."""
TABLE = {"pandas", "numpy", "pyarrow"}
"""What reading a run takes."""
FIGURE = {"scipy"}
FORMAT = {"jinja2", "tabulate"}
HEAVY = MODEL | TABLE | FIGURE | FORMAT | {"psutil"}
PROBE = """
import atexit, sys
atexit.register(lambda: print("\\nmodules", *sys.modules, file=sys.stderr))
from gradbench.cli import main
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended, what it printed, and the names of its modules."""

    code: int
    out: str
    err: str
    modules: frozenset[str]

    def imported(self) -> set[str]:
        """The heavy libraries among its modules."""
        return HEAVY & {name.partition(".")[0] for name in self.modules}


def python(*arguments: str | Path, folder: Path = ROOT, **variables: str) -> Ended:
    """A Python process in ``folder`` that imports gradbench from here; ``variables`` are added to its environment."""
    variables = {**variables, "PYTHONPATH": os.pathsep.join([str(ROOT), variables.get("PYTHONPATH", "")])}
    left_out = {"COMP_WORDS", "COMP_CWORD", "_GRADBENCH_COMPLETE", "COLUMNS"}
    environment = {key: value for key, value in os.environ.items() if key not in left_out} | variables
    ended = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    err, _, modules = ended.stderr.rpartition("\nmodules ")
    assert modules, ended.stderr
    return Ended(ended.returncode, ended.stdout, err, frozenset(modules.split()))


def command(*arguments: str | Path, folder: Path = ROOT, **variables: str) -> Ended:
    """``gradbench ARGUMENTS`` in a process of its own."""
    return python("-c", PROBE, *arguments, folder=folder, **variables)


def completed(*words: str, folder: Path = ROOT) -> list[str]:
    """What is offered for the last of the words of a command line, as bash asks for it."""
    ended = command(
        folder=folder, COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1), _GRADBENCH_COMPLETE="complete_bash"
    )
    assert ended.code == 0, ended.err
    assert ended.imported() == set()
    return ended.out.split()


HELPS = [
    f"{name} --help"
    for name in (
        *("run", "measure", "compare", "explain", "check", "new", "export", "list", "show"),
        *("plot", "recommend", "report"),
    )
]


@pytest.mark.parametrize("line", ["--help", *HELPS])
def test_help_imports_nothing(line) -> None:
    ended = command(*line.split())
    assert ended.code == 0
    assert "Usage: gradbench" in ended.out
    assert "<bool>" not in ended.out, "flags take no value"
    assert ended.imported() == set()


def test_the_version_needs_no_formatting_either() -> None:
    ended = command("--version")
    assert (ended.code, ended.out) == (0, f"gradbench {VERSION}\n")
    assert ended.imported() == set()
    assert "rich.console" not in ended.modules


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsuch", "no such command 'nonsuch'"),
        ("run", "give a suite (see gradbench list suites), or --problem NAME"),
        ("run quick --nonsuch", "no such option: --nonsuch"),
        ("run quik", "unknown suite 'quik'; did you mean 'quick'?"),
        ("run nonsuch.toml", "nonsuch.toml: expected a suite file"),
        ("run quick --budget soon", "--budget 'soon': expected a time"),
        ("explain pathwis", "unknown estimator 'pathwis'; did you mean 'pathwise'?"),
        ("explain pathwise --problem rainfort", "--problem: unknown problem 'rainfort'; did you mean 'rainforth'?"),
        ("check pathwis", "unknown estimator 'pathwis'; did you mean 'pathwise'?"),
        ("check pathwise --problem rainfort", "--problem: unknown problem 'rainfort'; did you mean 'rainforth'?"),
        ("show suite:quik", "unknown suite 'quik'; did you mean 'quick'?"),
        ("show pathwis", "metric 'pathwis'; did you mean 'pathwise' or 'pathwise-antithetic'"),
        ("show nonsuch.toml", "nonsuch.toml: expected a suite file"),
        ("list suits", "'suits' is not one of"),
        ("measure nonsuch.py:losses", "nonsuch.py: there is no such file"),
        ("measure quick", "quick: expected FILE.py:NAME"),
        ("new estimator pathwise", "another estimator has the name 'pathwise'"),
    ],
)
def test_what_is_wrongly_asked_is_said_at_once(line, said) -> None:
    ended = command(*line.split())
    assert ended.code == 2
    assert said in ended.err
    assert "Value error" not in ended.err
    assert ended.imported() == set()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("list suites", "sigmoid-belief"),
        ("list suites --json", '"suite": "quick"'),
        ("list metrics", "variance_low"),
        ("show variance", "variance: trace of the covariance"),
    ],
)
def test_what_is_written_down_is_read_without_a_library(line, said) -> None:
    ended = command(*line.split())
    assert ended.code == 0
    assert said in ended.out
    assert ended.imported() == set()


def test_a_skeleton_is_written_without_a_library(tmp_path) -> None:
    ended = command("new", "estimator", "mine", folder=tmp_path)
    assert ended.code == 0
    assert (tmp_path / "mine.py").exists()
    assert ended.imported() == set()


@pytest.mark.parametrize("run", sorted(path.parent.name for path in KEPT.glob("*/manifest.json")))
@pytest.mark.parametrize(("line", "also"), [("show RUN", set()), ("compare RUN", FIGURE)])
def test_every_kept_run_is_read_without_torch(run, line, also) -> None:
    """Intervals of claims take scipy's quantiles; slopes against size, the problem, which knows what sets its size."""
    model = {"torch", "jaxtyping"} if run == "model-size" and "show" in line else set()
    claims = json.loads((KEPT / run / "manifest.json").read_text())["suite_resolved"].get("expect")
    reads(line, KEPT / run, also | model | (FIGURE if claims else set()))


@pytest.mark.parametrize(
    ("line", "also"),
    [
        ("show RUN --json", set()),
        ("show RUN --at evaluations", set()),
        ("export RUN --at seconds", set()),
        ("compare RUN --at seconds", FIGURE),
        ("recommend RUN", FIGURE),
        ("export RUN", set()),
        ("export RUN --format json", set()),
        ("export RUN --format markdown", set()),
        ("export RUN --format latex", set()),
        ("export RUN --format markdown --rows", {"tabulate"}),
        ("export RUN --format latex --rows", {"jinja2"}),
        ("compare RUN RUN --json", FIGURE),
    ],
)
def test_a_run_is_read_without_torch(line, also) -> None:
    reads(line, KEPT / "quick", also)


def reads(line: str, run: Path, also: set[str]) -> None:
    """Raise AssertionError where a command that reads ``run`` imports other than a table takes, and ``also``."""
    ended = command(*(run if word == "RUN" else word for word in line.split()))
    assert ended.code == 0
    assert any(name in ended.out for name in ("score-function", "iwae-score", "straight-through"))
    assert ended.imported() == TABLE | also
    assert "scipy.stats" not in ended.modules


def test_a_figure_is_drawn_without_torch(tmp_path) -> None:
    ended = command("plot", KEPT / "quick", "--kind", "bias", "-o", "f.svg", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.imported() == TABLE
    assert "matplotlib.pyplot" not in ended.modules


@pytest.mark.parametrize("line", ["show .", "export nonsuch", "compare nonsuch"])
def test_what_is_no_run_is_refused_without_torch(tmp_path, line) -> None:
    ended = command(*line.split(), folder=tmp_path)
    assert ended.code == 2
    assert "give a folder that gradbench run wrote" in ended.err
    assert not ended.imported() & (MODEL | FIGURE)


def test_claims_are_held_against_a_run_without_torch(tmp_path) -> None:
    run = shutil.copytree(KEPT / "quick", tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    rows = {"problem": "gaussian-vae", "kl": "analytic"}
    pathwise, score = {**rows, "estimator": "pathwise"}, {**rows, "estimator": "score-function"}
    del manifest["checksum"]  # it is edited on purpose
    manifest["suite_resolved"]["expect"] = [
        {"claim": "A", "kind": "value", "select": pathwise, "figure": "variance", "above": 0.0},
        {"claim": "B", "kind": "ratio", "select": score, "over": {"estimator": "pathwise"}, "above": 1.0},
        {"claim": "C", "kind": "ordering", "select": rows, "order": ["pathwise", "score-function"]},
        {"claim": "D", "kind": "slope", "select": pathwise, "value": -1.0, "tolerance": 0.5},
        {"claim": "E", "kind": "verdict", "select": pathwise, "verdict": "unbiased"},
    ]
    (run / "manifest.json").write_text(json.dumps(manifest))
    ended = command("show", run, "--json")
    assert ended.code == 0, ended.err
    assert [claim["measured_status"] for claim in json.loads(ended.out)["claims"]] == ["reproduced"] * 5
    assert ended.imported() == TABLE | FIGURE
    assert "scipy.stats" not in ended.modules


@pytest.mark.parametrize("line", ["show pathwise", "show problem:rainforth", "list estimators", "list problems"])
def test_a_model_is_described_without_a_table(line) -> None:
    ended = command(*line.split())
    assert ended.code == 0
    assert "torch" in ended.imported()
    assert not ended.imported() & {"pandas", "pyarrow", "sklearn", *FIGURE, *FORMAT}


def test_an_estimator_is_checked_without_a_table() -> None:
    ended = command("check", "pathwise", "--problem", "gaussian-cost")
    assert ended.code == 0, ended.err
    assert {"torch", *FIGURE} <= ended.imported()
    assert not ended.imported() & {"pandas", "pyarrow", "sklearn", *FORMAT}
    assert "scipy.stats" not in ended.modules


def test_the_library_is_imported_lazily() -> None:
    code = "import atexit, sys; atexit.register(lambda: print('\\nmodules', *sys.modules, file=sys.stderr));"
    assert python("-c", f"{code} import gradbench; print(gradbench.__version__, dir(gradbench))").imported() == set()
    assert python("-c", f"{code} from gradbench import load; load('{KEPT / 'quick'}')").imported() == TABLE


def test_plugins_of_a_package_are_loaded_only_where_names_are_looked_up(tmp_path) -> None:
    package = tmp_path / "mine-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[gradbench.estimators]\nmine = mine:ESTIMATOR\n")
    assert command("new", "estimator", "mine", folder=tmp_path).code == 0
    run = shutil.copytree(KEPT / "quick", tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["checksum"]  # it is edited on purpose
    (run / "manifest.json").write_text(json.dumps({**manifest, "plugins": [{"source": "mine", "version": "1.0"}]}))
    for line, said, loaded in (
        ("list suites", "quick", False),
        ("list estimators", "mine", True),
        (f"show {KEPT / 'quick'}", "pathwise", False),
        (f"show {run}", "pathwise", True),
        ("show mine", "Held constant", True),
    ):
        ended = command(*line.split(), PYTHONPATH=str(tmp_path))
        assert ended.code == 0
        assert said in ended.out
        assert ("torch" in ended.imported(), "mine" in ended.modules) == (loaded, loaded)


@pytest.mark.parametrize("group", ["families", "objectives", "problems", "estimators"])
def test_a_package_that_brings_one_kind_alone_is_loaded(tmp_path, group) -> None:
    package = tmp_path / "mine-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[gradbench.{group}]\nmine = nowhere:MINE\n")
    ended = command("list", "families", PYTHONPATH=str(tmp_path))
    assert "package mine: mine is left out" in ended.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("gradbench ru", ["run"]),
        ("gradbench run --mem", ["--memory"]),
        ("gradbench run qu", ["quick"]),
        ("gradbench run papers/to", []),
        ("gradbench run papers/tucker", [name for name in shipped() if name.startswith("papers/tucker")]),
        ("gradbench explain disa", ["disarm", "disarm-categorical"]),
        ("gradbench explain bi", ["bit", "binary", "bitflip"]),
        ("gradbench explain disarm --problem ra", ["rainforth"]),
        ("gradbench check gau", [name for name in (*PROBLEMS, *FAMILIES) if name.startswith("gau")]),
        ("gradbench check disarm --problem ra", ["rainforth"]),
        ("gradbench compare x --baseline disa", ["disarm", "disarm-categorical"]),
        ("gradbench list prob", ["problems"]),
        ("gradbench new est", ["estimator"]),
        ("gradbench show variance_l", [name for name in METRICS if name.startswith("variance_l")]),
        ("gradbench show disa", ["disarm", "disarm-categorical"]),
        ("gradbench export results/reference/q", ["results/reference/quick"]),
        ("gradbench export ./results/reference/q", ["./results/reference/quick"]),
        ("gradbench compare results/reference/costs results/reference/q", ["results/reference/quick"]),
    ],
)
def test_the_shell_completes_names(words, offered) -> None:
    assert completed(*words.split()) == offered


def test_the_shell_completes_all_names_where_nothing_is_typed(tmp_path) -> None:
    named = [*ESTIMATORS, *PROBLEMS, *FAMILIES, *OBJECTIVES]
    assert completed("gradbench", "run", "''", folder=tmp_path) == list(shipped())
    assert completed("gradbench", "explain", "''", folder=tmp_path) == [*CHAPTERS, *ESTIMATORS]
    assert completed("gradbench", "show", "''", folder=tmp_path) == [*shipped(), *named]


def test_the_shell_completes_run_folders_alone(tmp_path) -> None:
    for name in ("results/a", "results/b/c", "results/none", "other/d", "results/[e]", "results/e/f"):
        (tmp_path / name).mkdir(parents=True)
        if name != "results/none":
            (tmp_path / name / "manifest.json").write_text("{}")
    found = ["results/a", "results/b/c", "results/e/f"]  # a shell would take [e] for a pattern
    for name in ("compare", "export", "show"):
        assert completed("gradbench", name, "''", folder=tmp_path)[:3] == found
    assert completed("gradbench", "export", "oth", folder=tmp_path) == ["other/d"]
    assert completed("gradbench", "export", f"{tmp_path}/other/", folder=tmp_path) == [f"{tmp_path}/other/d"]
    assert completed("gradbench", "export", "results/[e]", folder=tmp_path) == []
    assert completed("gradbench", "export", "results/no", folder=tmp_path) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_every_shell(shell) -> None:
    ended = command(_GRADBENCH_COMPLETE=f"source_{shell}")
    assert ended.code == 0
    assert "_GRADBENCH_COMPLETE=complete_" in ended.out
    assert ended.imported() == set()


NOT_FOR_A_RUN = ("sklearn.base", "scipy.stats", "scipy.optimize", "sympy", "torch._dynamo", "torch.utils.benchmark")
"""What takes long to import, and no figure of a run needs."""


def test_a_run_imports_what_its_figures_need(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(
        """
        name = "one"
        [measure]
        replicates = 64
        [[grid]]
        problem = "gaussian-vae"
        data = "digits"
        size = {hidden = 4, latent = 2}
        batch = 2
        estimators = ["pathwise", "pathwise-antithetic", "score-function", "score-function-loo"]
        samples = 2
        """
    )
    ended = command("run", tmp_path / "one.toml", "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert not set(NOT_FOR_A_RUN) & ended.modules


def test_a_run_begins_without_what_its_rows_take(tmp_path) -> None:
    code = """
import sys
from gradbench.cli import main
from gradbench.runner.executors import processes


def outcomes(self, groups, slots, seconds):
    print("\\nmodules", *sys.modules, file=sys.stderr)
    raise KeyboardInterrupt


processes.Processes.outcomes = outcomes
main(["run", *sys.argv[1:]])
"""
    ended = python("-c", code, "quick", "--workers", "2", "--out", tmp_path / "run")
    assert ended.code == 130, ended.err
    assert "torch" in ended.imported()
    assert not ended.imported() & {"pandas", *FIGURE, *FORMAT}
    assert not ended.modules & {"sympy", "torch._dynamo"}


@pytest.mark.parametrize(("line", "code"), [("--version", 0), ("show nowhere", 2)])
def test_a_command_ends_as_processes_do(line, code) -> None:
    """Nothing is taken apart, but whoever asked to be told of the end is told, and all is printed."""
    told = "atexit.register(lambda: print('told') or print('\\nmodules', *sys.modules, file=sys.stderr))"
    ended = python("-c", f"import atexit, sys; {told}; from gradbench.cli import command; command()", *line.split())
    assert ended.code == code
    assert ended.out.endswith("told\n")
    assert (VERSION in ended.out) == (code == 0)
