"""The wrapper as one file: a zipapp of gyre_pipelines/wrapper, which imports nothing but the standard library."""

import zipfile
from pathlib import Path

_SOURCE = Path(__file__).parent / "wrapper"
_PACKAGE = "gyre_wrapper"
_MAIN = f"import sys\nfrom {_PACKAGE}.main import main\nsys.exit(main(sys.argv[1:]))\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_wrapper(target: Path) -> None:
    """Write the zipapp; the same source always gives the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), _MAIN)
        for path in sorted(_SOURCE.glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"{_PACKAGE}/{path.name}", _EPOCH), path.read_bytes())
    target.chmod(0o755)
