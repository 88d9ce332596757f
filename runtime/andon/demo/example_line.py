"""Write the example of a line: the commented configuration `line.toml` and the model file that it names.

The model file judges windows of the simulated power converter. Its detector is `pca`. It was made with::

    andon train pca --data power_converter:runs=1000,rows=64,seed=1 --out run
    andon export run -o power_converter.onnx
"""

from importlib import resources
from pathlib import Path

from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError

CONFIGURATION = "line.toml"
MODEL = "power_converter.onnx"
"""Name of the model file in the configuration. It is written into the folder of the configuration."""


def example(name: str) -> bytes:
    """Return the content of `CONFIGURATION` or `MODEL`."""
    return resources.files("andon.demo").joinpath(name).read_bytes()


def write_example(file: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write the configuration to a file, and the model file next to it. Return both paths.

    Args:
        file: path of the configuration. It ends in ``.toml``.
        force: replace existing files.

    Raises:
        ConfigError: the name does not end in ``.toml``, a file exists and has another content, or a file cannot be written.
            Then no file was changed, unless the disk failed between the two.
    """
    if file.suffix.lower() != ".toml":
        raise ConfigError(f"{file}: expected a name that ends in .toml, for example line.toml. Choose another name.")
    contents = {file.parent / MODEL: example(MODEL), file: example(CONFIGURATION)}
    for path, content in contents.items():
        # an equal model file is not a conflict: several lines can share a folder
        if not force and path.exists() and (path == file or path.read_bytes() != content):
            raise ConfigError(
                f"{path}: expected a new name, got an existing file. Choose another name, or give --force."
            )
    for path, content in contents.items():
        write_atomically(path, content)
    return tuple(reversed(contents))
