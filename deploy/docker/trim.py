"""Remove files from an image that the service does not need: `trim.py environment FOLDER` and `trim.py base /`.

`trim.py harden /`, a part of `base`, leaves no way to install something or to become another user: no package managers,
and no programs that run with the rights of their owner.

`make verify-deploy` sends requests for every task to the image, and so notices if too much is removed.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

#: Dependencies that the service never imports: `tokenizers` downloads tokenizers by name with huggingface-hub, which
#: needs the packages after it; setuptools built the project.
UNUSED_PACKAGES = (
    "huggingface_hub",
    "hf_xet",
    "httpx2",
    "httpcore2",
    "fsspec",
    "filelock",
    "tqdm",
    "truststore",
    "setuptools",
)

#: Below site-packages.
UNUSED_IN_PACKAGES = (
    "_distutils_hack",
    "distutils-precedence.pth",
    "numpy/distutils",
    "numpy/f2py",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/random/lib",
    # For compiling bindings: those of cryptography and soundfile are, and need `_cffi_backend` only.
    "cffi",
    "pycparser",
    # PyYAML, which only huggingface-hub needs.
    "yaml",
    "_yaml",
    # Pictures are PNG: libraries for other formats, fonts and colour profiles are not used.
    "PIL/_avif*",
    "PIL/_imagingcms*",
    "PIL/_imagingft*",
    "PIL/_imagingtk*",
    "PIL/_webp*",
    "PIL/[!BGJP]*ImagePlugin.py",
    "pillow.libs/libavif*",
    "pillow.libs/libbrotli*",
    "pillow.libs/libfreetype*",
    "pillow.libs/libharfbuzz*",
    "pillow.libs/liblcms2*",
    "pillow.libs/libpng16*",
    "pillow.libs/libsharpyuv*",
    "pillow.libs/libwebp*",
    # Rich highlights code in tracebacks, which is Python; others are loaded by name.
    "pygments/lexers/[!_p]*.py",
    "pygments/lexers/p[!y]*.py",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # For C programs; the Python module contains all of it.
    "onnxruntime/capi/libonnxruntime.so*",
    # Needs TensorRT, which is not in the image.
    "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
    "nvidia/**/include",
    "nvidia/**/*.a",
    "nvidia/**/*.alt.so*",
)

#: In all packages: tests, and sources and stubs for compilers and editors.
UNUSED_ANYWHERE = ("**/tests", "**/__pycache__", "**/*.pyx", "**/*.pxd", "**/*.pyi", "**/*.h", "**/*.c")

#: In the base image. The list of Debian packages stays, because vulnerability scanners read it.
UNUSED_IN_BASE = (
    "usr/local/bin/2to3*",
    "usr/local/bin/idle*",
    "usr/local/bin/pip*",
    "usr/local/bin/pydoc*",
    "usr/local/bin/python*-config",
    "usr/local/include",
    "usr/local/lib/libpython3.so",
    "usr/local/lib/pkgconfig",
    "usr/local/lib/python3*/config-3*",
    "usr/local/lib/python3*/ensurepip",
    "usr/local/lib/python3*/idlelib",
    "usr/local/lib/python3*/lib2to3",
    "usr/local/lib/python3*/pydoc_data",
    "usr/local/lib/python3*/site-packages/*",
    "usr/local/lib/python3*/test",
    "usr/local/lib/python3*/tkinter",
    "usr/local/lib/python3*/turtledemo",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/*",
    "var/lib/apt/lists/*",
    "root/.cache",
)

#: They install packages, which needs no place in an image that never changes.
PACKAGE_MANAGERS = (
    "usr/local/bin/pip*",
    "usr/local/lib/python3*/ensurepip",
    "usr/local/lib/python3*/site-packages/pip",
    "usr/local/lib/python3*/site-packages/pip-*.dist-info",
    "usr/bin/apt*",
    "usr/bin/dpkg*",
    "usr/sbin/dpkg*",
    "usr/lib/apt",
    "usr/lib/dpkg",
    "usr/lib/*/libapt-*",
    "usr/share/dpkg",
    "etc/apt",
    "etc/dpkg",
    # Scripts that only dpkg runs; the list of packages is another file.
    "var/lib/dpkg/info",
    "var/cache/apt",
    "var/lib/apt",
)


def remove(folder: Path, *patterns: str) -> int:
    """Delete all matches below `folder`. Returns the number of bytes."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    num_bytes = 0
    for path in found:
        if path.is_dir() and not path.is_symlink():
            num_bytes += sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
            shutil.rmtree(path)
        elif path.is_symlink() or path.exists():  # else deleted with a folder above it
            num_bytes += path.lstat().st_size
            path.unlink()
    return num_bytes


def trim_environment(folder: Path) -> int:
    """Trim a virtual environment with the service."""
    (packages,) = folder.glob("lib/python3*/site-packages")
    unused = [pattern for name in UNUSED_PACKAGES for pattern in (name, f"{name}-*.dist-info")]
    num_bytes = remove(packages, *unused, *UNUSED_IN_PACKAGES) + remove(packages, *UNUSED_ANYWHERE)
    # Keep only two commands: the interpreter and `unroll`.
    return num_bytes + remove(folder, "include", "bin/[!pu]*", "bin/p[!y]*", "bin/u[!n]*", "bin/pyg*")


def trim_base(root: Path) -> int:
    """Trim the file system of the running base image."""
    return remove(root, *UNUSED_IN_BASE) + harden(root)


def harden(root: Path) -> int:
    """Remove package managers, and take setuid and setgid away from every program."""
    num_bytes = remove(root, *PACKAGE_MANAGERS)
    for path in files_with_other_rights(root):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_ISUID | stat.S_ISGID))
    return num_bytes


def files_with_other_rights(root: Path) -> list[Path]:
    """Programs that run with the rights of their owner or group, on the file system of `root` alone."""
    found, device = [], root.stat().st_dev
    for folder, subfolders, names in os.walk(root):
        here = Path(folder)
        subfolders[:] = [
            name for name in subfolders if (here / name).lstat().st_dev == device
        ]  # not /proc and the like
        for path in (here / name for name in names):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(path)
    return found


TRIMMERS = {"environment": trim_environment, "base": trim_base, "harden": harden}

if __name__ == "__main__":
    what, where = sys.argv[1:]
    print(f"removed {TRIMMERS[what](Path(where)) / 1e6:.0f} MB from {where}")
