"""The design's order: a file imports only files above it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "jaxseg"
ORDER = (
    ("allocator", "trouble", "hush", "arrays", "progress", "digests", "stopping"),
    ("errors",),
    ("hosts",),
    ("fate",),
    ("run", "shelf", "likeness", "cadence", "lock"),
    ("growing",),
    ("board",),
    ("losses.pixels", "metrics", "schedules", "rates", "guard", "collapse", "ema"),
    ("scores.boundary", "scores.levels", "scores.bootstrap"),
    ("losses.cross_entropy", "losses.focal", "losses.lovasz", "losses.overlap"),
    ("losses.total", "optim", "augment.shape", "augment.mixing"),
    ("losses", "augment.colour"),
    ("augment.settings",),
    ("augment", "augment.strengths"),
    ("scores.sweep", "scores.calibration", "scores.scoreboard"),
    ("scores.titles", "scores.image_score"),
    ("models.winograd", "models.patches"),
    ("models.conv3x3",),
    ("models.convolution", "models.dropout", "models.prior", "supervision"),
    ("models.batch_norm",),
    ("models.block", "models.resample"),
    ("models.unet",),
    ("models.table", "onnx_graph"),
    ("data.segmentations", "data.stream", "data.mapped", "data.caches", "data.geometry"),
    ("data.rows", "compile_cache"),
    ("data.index",),
    ("data.coco",),
    ("torch_source",),
    ("data.patience",),
    ("data.headers", "data.jpegs"),
    ("data.classes", "data.masks", "data.images", "data.layout"),
    ("data.sampling", "data.settings", "data.room", "data.slots", "data.windows"),
    ("data.kept",),
    ("data.textures",),
    ("data.things",),
    ("data.scenes",),
    ("data.sample",),
    ("data.splits",),
    ("data.samples",),
    ("data.assembly", "data.worker"),
    ("data.workers",),
    ("data.loader", "data.twins", "data.census", "scores.objects"),
    ("scores.judge", "scores.instances", "faults"),
    ("step",),
    ("sharding", "checkpoint", "torch_weights", "schemes", "sums", "diagnosis", "incident"),
    ("assumed",),
    ("recognise",),
    ("torch_side",),
    ("mistakes",),
    ("pth.unpickle",),
    ("pth.tensors",),
    ("pth.containers",),
    ("pth.read", "pth.write"),
    ("pth",),
    ("pictures",),
    ("plots",),
    ("sheets", "diagram", "scores.curves", "scores.look"),
    ("logs", "tensors_file", "page"),
    ("check.findings",),
    ("check.entry_kinds", "check.outlines", "check.files", "check.splits", "check.segments"),
    ("check.content", "check.statistics"),
    ("check.entries",),
    ("check.classes", "check.images", "check.samples"),
    ("check.charts", "check.report"),
    ("check.examine", "check.terminal"),
    ("check.page",),
    ("doctor",),
    ("config",),
    ("loop", "description", "explanation", "gallery"),
    ("consent",),
    ("footprint",),
    ("fitting",),
    ("exhaustion",),
    ("foreign",),
    ("weights",),
    ("initial", "proof", "unsound"),
    ("plan", "replay"),
    ("dry_run",),
    ("suggesting.recipe", "suggesting.survey", "suggesting.config_file"),
    ("suggesting.choices",),
    ("suggesting.training",),
    ("suggesting.suggestion",),
    ("outcome", "story", "agreement", "program"),
    ("training",),
    ("predicting.tiles", "predicting.tta", "predicting.photograph"),
    ("predicting.canvas", "predicting.prediction"),
    ("predicting.inference", "predicting.inputs"),
    ("predictor", "predicting.journal", "predicting.outputs"),
    ("predicting.video", "loading"),
    ("predicting.bulk",),
    ("runtimes", "scores.examine"),
    ("scores.evaluation", "scores.threshold"),
    ("scores.scoring", "scores.summary"),
    ("scores.report",),
    ("comparing.entry",),
    ("comparing.recipes",),
    ("comparing.curves", "comparing.paired"),
    ("comparing.comparison",),
    ("train", "visualize", "export", "convert", "predict", "evaluate", "compare", "find_lr"),
    ("__main__", "__init__", "check", "comparing", "data", "models", "predicting", "scores", "suggesting"),
)
OWNERS = {"flax": "models.", "orbax": "checkpoint", "grain": "data.loader"}


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if path.stat().st_size:
            found[name] = path
    return found


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_module_has_a_place() -> None:
    assert set(modules()) == {name for row in ORDER for name in row}


def test_imports_point_up_the_table() -> None:
    rank = {name: place for place, row in enumerate(ORDER) for name in row}
    for name, path in modules().items():
        for imported in imports(path):
            if not imported.startswith("jaxseg.") or name == "__init__":
                continue
            target = imported.removeprefix("jaxseg.")
            while target and target not in rank:
                target = target.rpartition(".")[0]
            assert rank.get(target, -1) < rank[name], f"{name} imports {imported}, which is not above it"


def test_each_large_library_has_one_home() -> None:
    for name, path in modules().items():
        for imported in imports(path):
            owner = OWNERS.get(imported.split(".")[0])
            assert owner is None or name.startswith(owner), f"{name} imports {imported}"


def test_the_data_code_imports_no_jax() -> None:
    for name, path in modules().items():
        if name.startswith("data.") and name != "data.loader":
            assert not any(imported.split(".")[0] in ("jax", "flax", "optax") for imported in imports(path)), name
