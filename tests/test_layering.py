"""The house keeps its floors: who may import whom, and what the command line may load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsiseg
from wsiseg.cli.main import COMMANDS

PACKAGE = Path(wsiseg.__file__).parent

FLOORS = {
    0: {"errors", "geometry", "classes", "progress", "process", "wording"},
    1: {
        "raster",
        "tissue",
        "metrics",
        "resampling",
        "calibration",
        "objects",
        "blend",
        "trace",
        "corners",
        "containers",
    },
    2: {
        "files",
        "lock",
        "draw",
        "outcome",
        "labelimage",
        "tissuemap",
        "summary",
        "slide",
        "tilestore",
        "annotation",
        "config",
    },
    3: {"model"},
    4: {"tiling", "train", "infer", "evaluate", "synthetic", "report", "demo", "study"},
    5: {"cli", "__main__"},
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}

SIDEWAYS = {("demo", "report"), ("study", "train"), ("study", "report")}
"""Use cases that may call another one; all others stand apart, train and infer above all."""

HEAVY = {
    "openslide": ("slide/",),
    "tiffslide": ("slide/",),
    "zarr": ("tilestore/", "tilestore.py"),
    "yaml": ("config/yaml_io.py",),
    "segmentation_models_pytorch": ("model/segmentor.py",),
    "torch": ("model/", "train/", "infer/", "study/", "cli/"),
    "lightning": ("model/", "train/", "infer/"),
    "torchmetrics": ("model/", "train/"),
    "matplotlib": ("train/", "report/"),
    "click": ("cli/",),
    "rich": ("cli/",),
    "dask": (),
    "distributed": ("study/",),
}
"""Where each heavy or opinionated package may be imported."""

FORBIDDEN_IN_HELP = {"torch", "numpy", "openslide", "tiffslide", "zarr", "shapely", "matplotlib", "scipy"}


def modules() -> list[Path]:
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imports(module: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function, by full name."""
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield node.module or ""


def part_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def inner_modules() -> list[Path]:
    return [module for module in modules() if module.name != "__init__.py" or len(module.parts) > 1]


def test_every_module_has_a_floor() -> None:
    assert {part_of(module) for module in inner_modules()} <= set(FLOOR_OF)


@pytest.mark.parametrize("module", inner_modules(), ids=str)
def test_imports_only_from_lower_floors(module: Path) -> None:
    own = part_of(module)
    for name in imports(module):
        if not name.startswith("wsiseg."):
            continue
        other = name.split(".")[1]
        assert FLOOR_OF[other] <= FLOOR_OF[own], f"{module} imports {name}, which lies above it"
        if FLOOR_OF[own] == 4 and other != own and FLOOR_OF[other] == 4:
            assert (own, other) in SIDEWAYS, f"{module} imports {name}: use cases stand apart"


@pytest.mark.parametrize("module", modules(), ids=str)
def test_heavy_packages_are_imported_where_they_belong(module: Path) -> None:
    for name in imports(module):
        allowed = HEAVY.get(name.split(".")[0])
        if allowed is not None:
            assert module.as_posix().startswith(allowed or ("nowhere",)), f"{module} imports {name}"


def test_the_package_can_be_run() -> None:
    command = [sys.executable, "-m", "wsiseg", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("wsiseg, version"), done.stderr


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from wsiseg.cli.main import cli\n"
        f"cli.main([*{arguments!r}, '--help'], standalone_mode=False)\n"
        f"print('LOADED', sorted({FORBIDDEN_IN_HELP!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert done.stdout.strip().endswith("LOADED []")
