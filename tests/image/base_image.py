"""A substitute for the slim Python image, made from files of this machine, if no registry can be reached.

It has everything that the Dockerfile needs from the real image: under /usr/local a Python with pip and without
bytecode; the C libraries that wheels link to; a shell, certificates, and /tmp. The real image is Debian; this one is
the system of this machine.
"""

import importlib.util
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PROGRAMS = ("/bin/sh", "/usr/bin/env", "/bin/mkdir", "/bin/rm", "/bin/cp", "/bin/ls", "/bin/cat")
SHARED = (  # needed by some wheels, though by no program here
    *("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "libresolv.so.2", "librt.so.1", "libutil.so.1"),
    *("libgcc_s.so.1", "libstdc++.so.6"),
)
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
LEFT_OUT = re.compile(r"/(__pycache__|test|tests|idlelib|turtledemo|ensurepip|config-[^/]*|EXTERNALLY-MANAGED)(/|$)")
SETTINGS = ("ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV LANG=C.UTF-8", 'CMD ["python3"]')  # as in the real image
PIP_HOME = "/usr/local/share/pip"  # a folder of its own, because not every Python searches site-packages
PIP = f"""\
#!/usr/local/bin/python
import sys
sys.path.insert(0, "{PIP_HOME}")
from pip._internal.cli.main import main
sys.exit(main())
"""
PASSWD = "root:x:0:0:root:/root:/usr/sbin/nologin\n"


def write(path: Path) -> None:
    """Write the root file system as a tar archive."""
    with tarfile.open(path, "w") as archive:
        image = _Image(archive)
        for folder in ("bin", "sbin", "lib", "lib64"):
            if Path("/", folder).is_symlink():  # merged into /usr, where the programs expect them
                image.link(f"/{folder}", str(Path("/", folder).readlink()))
        image.folder("/tmp", mode=0o1777)  # noqa: S108 - a folder in the image
        image.text("/etc/passwd", PASSWD)
        if Path(CERTIFICATES).exists():
            image.file(CERTIFICATES, Path(CERTIFICATES))
        _python(image)
        for needed in sorted(_needed(PROGRAMS)):
            image.file(needed, Path(needed))
        for program in PROGRAMS:
            image.file(program, Path(program))


class _Image:
    """A root file system being written. Every file belongs to root and is readable by all."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._known: set[str] = set()

    def file(self, where: str, source: Path) -> None:
        """Add a file and its folders; links are followed."""
        entry = tarfile.TarInfo(_name(where))
        entry.size = source.stat().st_size
        entry.mtime = int(source.stat().st_mtime)
        entry.mode = 0o755 if os.access(source, os.X_OK) else 0o644
        with source.open("rb") as content:
            self._add(entry, content)

    def text(self, where: str, content: str, *, mode: int = 0o644) -> None:
        """Add a file with this text."""
        data = content.encode()
        entry = tarfile.TarInfo(_name(where))
        entry.size = len(data)
        entry.mode = mode
        self._add(entry, io.BytesIO(data))

    def folder(self, where: str, *, mode: int) -> None:
        """Add an empty folder."""
        entry = tarfile.TarInfo(_name(where))
        entry.type = tarfile.DIRTYPE
        entry.mode = mode
        self._add(entry, None)

    def link(self, where: str, target: str) -> None:
        """Add a symbolic link."""
        entry = tarfile.TarInfo(_name(where))
        entry.type = tarfile.SYMTYPE
        entry.linkname = target
        self._add(entry, None)

    def _add(self, entry: tarfile.TarInfo, content: io.BufferedReader | io.BytesIO | None) -> None:
        if entry.name not in self._known:
            self._known.add(entry.name)
            self._archive.addfile(entry, content)


def _name(where: str) -> str:
    """Return the name in the archive; files of a merged folder are stored in its target."""
    top, _, rest = where.lstrip("/").partition("/")
    folder = Path("/", top)
    return f"{folder.readlink()}/{rest}".lstrip("/") if rest and folder.is_symlink() else f"{top}/{rest}".rstrip("/")


def _python(image: _Image) -> None:
    """Put Python and pip under /usr/local."""
    binary = Path(sys.executable).resolve()
    image.file(f"/usr/local/bin/python{VERSION}", binary)
    for name in ("python", "python3"):
        image.link(f"/usr/local/bin/{name}", f"python{VERSION}")
    library = Path(sysconfig.get_path("stdlib"))
    for source in _files(library):
        image.file(f"/usr/local/lib/python{VERSION}/{source.relative_to(library)}", source)
    pip = importlib.util.find_spec("pip")
    assert pip is not None
    assert pip.origin is not None, "pip is missing; every environment that make creates has it"
    packages = Path(pip.origin).parent.parent
    for source in _files(packages / "pip"):
        image.file(f"{PIP_HOME}/{source.relative_to(packages)}", source)
    image.text("/usr/local/bin/pip", PIP, mode=0o755)
    modules = (str(each) for each in _files(library) if each.suffix == ".so")
    for needed in sorted(_needed((str(binary), *modules))):
        image.file(needed, Path(needed))


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, without tests, bytecode and packages installed on this machine."""
    for path in sorted(folder.rglob("*")):
        below = f"/{path.relative_to(folder)}"
        if path.is_file() and not LEFT_OUT.search(below) and not below.startswith("/site-packages/"):
            yield path


def _needed(programs: Iterable[str]) -> set[str]:
    """Paths of the shared libraries and of the loader, as the loader of this machine finds them."""
    output = subprocess.run(["ldd", *programs], check=False, capture_output=True, text=True).stdout
    cached = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    shared = {line.split(" => ")[1] for line in cached.splitlines() if line.strip().startswith(SHARED)}
    return {match[1] for match in re.finditer(r"(/\S+) \(0x", output)} | shared
