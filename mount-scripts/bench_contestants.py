#!/usr/bin/env python3
"""Who takes part in mount-scripts/bench: builds them, mounts them, and adds up what their processes cost."""

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
EXAMPLE = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"
KNOWN = ["extractfs", "floor", "passthrough", "passthrough-best", "qemu", "nbdfuse", "bare", "uncounted"]
# These take part only if they are asked for by name: a whole build is their price.
ON_REQUEST = {"uncounted"}
# Contestants that are left out where these programs are missing, unless they are asked for by name.
PROGRAMS = {"qemu": ["qemu-storage-daemon"], "nbdfuse": ["nbdfuse", "nbdkit"]}
# libfuse's example with its defaults, and as fast as it can be: a descriptor of /dev/fuse for each thread, and no
# caching of attributes and data that its clients, who ask for direct I/O, have no use for.
PASSTHROUGH = {"passthrough": "", "passthrough-best": ",cache=never"}
# Programs of others are forgiven for a job that they cannot do.
OTHERS = {*PASSTHROUGH, "qemu", "nbdfuse"}
MIB = 1 << 20


class Failure(Exception):
    """Something that ends the benchmark with one line on stderr."""


def default_contestants():
    return [name for name in KNOWN if name not in ON_REQUEST and not missing_programs(name)]


def missing_programs(name):
    return [program for program in PROGRAMS.get(name, []) if not shutil.which(program)]


# Building ----------------------------------------------------------------------------------------


def build(options, cleanup):
    """Finds or builds the executables that the chosen contestants need; returns name -> path."""
    for command in ["fio", "fusermount3"]:
        if not shutil.which(command):
            raise Failure(f"there is no '{command}'; run mount-scripts/setup first")
    for name in options.contestants:
        if missing_programs(name):
            raise Failure(f"there is no '{missing_programs(name)[0]}' for {name}; --peers installs it")
    tools = {}
    if {"extractfs", "floor", *options.also} & set(options.contestants):
        tools["extractfs"] = find_extractfs()
    if "uncounted" in options.contestants:
        tools["uncounted"] = build_uncounted()
    if PASSTHROUGH.keys() & set(options.contestants):
        directory = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="extractfs-bench."))
        tools["passthrough"] = build_passthrough(directory)
    return tools


def find_extractfs():
    path = os.environ.get("EXTRACTFS")
    if not path:
        # Always through setup: it does nothing when the build is fresh, and never measures a stale one.
        subprocess.run([os.path.join(HERE, "setup")], check=True, stdout=subprocess.DEVNULL)
        path = os.path.join(ROOT, ".build-release", "release", "extractfs")
    if not os.access(path, os.X_OK):
        raise Failure(f"{path} is not an executable file")
    return path


def build_uncounted():
    """Builds as setup does, but with the accounting compiled out: see Sources/Memory/Accounting.swift."""
    subprocess.run([os.path.join(HERE, "setup"), "--no-build"], check=True, stdout=subprocess.DEVNULL)
    scratch = os.path.join(ROOT, ".build-uncounted")
    path = os.path.join(scratch, "release", "extractfs")
    if not os.path.exists(path):
        print("Building extractfs without its accounting; the first build takes some minutes.", flush=True)
    done = subprocess.run(
        ["swift", "build", "-c", "release", "--product", "extractfs", "--scratch-path", scratch,
         "-Xswiftc", "-DEXTRACTFS_UNCOUNTED"],
        cwd=ROOT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        print(done.stdout, end="", file=sys.stderr)
        raise Failure("the build without accounting failed (see above)")
    return path


def build_passthrough(directory):
    """Compiles libfuse's example, which Debian ships as it is or compressed."""
    examples = os.path.dirname(EXAMPLE)
    if not os.path.isdir(examples):
        raise Failure("libfuse's examples are not here: is libfuse3-dev installed with its documents?")
    for name in os.listdir(examples):
        if name.startswith("passthrough"):
            shutil.copy(os.path.join(examples, name), directory)
            if name.endswith(".gz"):
                subprocess.run(["gunzip", os.path.join(directory, name)], check=True)
    source = os.path.join(directory, "passthrough_ll.c")
    binary = os.path.join(directory, "passthrough_ll")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, text=True,
                           stdout=subprocess.PIPE).stdout.split()
    subprocess.run(["gcc", "-O2", "-o", binary, source, *flags], check=True)
    return binary


# Images ------------------------------------------------------------------------------------------


def images_needed(names, options):
    """How many filled images the contestants of one place need."""
    return 1 + sum(1 for name in names if has_image_of_its_own(name, options))


def has_image_of_its_own(name, options):
    return name == "uncounted" or name in options.also


def image_for(name, shared, directory, options):
    """The image for a contestant: the shared one, unless a mount of it would be refused as locked."""
    own = os.path.join(directory, f"{name}.img")
    if name == "floor":
        # Its holes are never touched.
        with open(own, "wb") as sparse:
            sparse.truncate(options.size * MIB)
        return own
    if has_image_of_its_own(name, options):
        fill(own, options.size)
        return own
    return shared


def fill(path, size):
    """Writes the whole image, so that no contestant reads holes."""
    block = os.urandom(MIB)
    with open(path, "wb") as file:
        for _ in range(size):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


# Mounting ----------------------------------------------------------------------------------------


def start_all(names, options, tools, directory, cleanup):
    """Returns name -> (file to measure, daemon or None); the unmounts are on the cleanup stack."""
    source = os.path.join(directory, "source")
    os.mkdir(source)
    shared = os.path.join(source, "image")
    fill(shared, options.size)
    started = {}
    for name in names:
        if name == "bare":
            started[name] = (shared, None)
            continue
        image = image_for(name, shared, directory, options)
        mountpoint = os.path.join(directory, name)
        if name in PROGRAMS:
            # These mount one file over another.
            open(mountpoint, "wb").close()
            command, file = program_command(name, image, mountpoint), mountpoint
        elif name in PASSTHROUGH:
            os.mkdir(mountpoint)
            command = passthrough_command(name, source, mountpoint, tools)
            file = os.path.join(mountpoint, "image")
        else:
            os.mkdir(mountpoint)
            command = extractfs_command(name, image, mountpoint, options, tools)
            file = os.path.join(mountpoint, "disk")
        daemon = Daemon(command, mountpoint, os.path.join(directory, f"{name}.log"),
                        ends_by_signal=name == "qemu")
        cleanup.callback(daemon.stop)
        started[name] = (file, daemon)
    return started


def passthrough_command(name, source, mountpoint, tools):
    best = ["-o", "clone_fd"] if name == "passthrough-best" else []
    return [tools["passthrough"], "-f", *best, "-o", f"source={source}{PASSTHROUGH[name]}", mountpoint]


def program_command(name, image, mountpoint):
    """How the peers that are whole programs of others export an image."""
    if name == "nbdfuse":
        return ["nbdfuse", mountpoint, "[", "nbdkit", "-f", "file", image, "]"]
    return ["qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=image,filename={image},cache.direct=on,aio=io_uring",
            "--export", f"type=fuse,id=export,node-name=image,mountpoint={mountpoint},writable=on"]


def extractfs_command(name, image, mountpoint, options, tools):
    """This program: everyone gets the common options, and of two that contradict the later one holds."""
    more = "backend=null" if name == "floor" else options.also.get(name, "")
    settings = ",".join(filter(None, [options.options, more]))
    tool = tools.get(name, tools.get("extractfs"))
    return [tool, "mount", image, mountpoint, "-f", *(["-o", settings] if settings else [])]


class Daemon:
    """A mounted filesystem, its processes and what they have cost: its session is all of them."""

    def __init__(self, command, mountpoint, log, ends_by_signal=False):
        self.mountpoint = mountpoint
        # Whether it stays when its mount goes.
        self.ends_by_signal = ends_by_signal
        self.log = log
        with open(log, "w") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, start_new_session=True)
        try:
            self.wait_until_mounted()
        except BaseException:
            self.stop()
            raise

    def wait_until_mounted(self):
        """Waits for the kernel's word that its table of mounts has changed, then looks."""
        deadline = time.monotonic() + 30
        with open("/proc/self/mountinfo") as table:
            poll = select.poll()
            poll.register(table, select.POLLERR | select.POLLPRI)
            while not os.path.ismount(self.mountpoint):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    with open(self.log) as log:
                        raise Failure(f"the mount of {os.path.basename(self.mountpoint)} failed: "
                                      f"{log.read().strip() or 'no message'}")
                poll.poll(200)

    def processes(self):
        """Yields the process number and the fields of stat behind the name, of each of the session."""
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{entry}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid:
                    yield entry, fields

    def cpu_seconds(self):
        ticks = sum(int(fields[11]) + int(fields[12]) for _, fields in self.processes())
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_rss_mib(self):
        total = 0
        for number, _ in self.processes():
            with open(f"/proc/{number}/status") as file:
                peak = re.search(r"VmHWM:\s+(\d+)", file.read())
                total += int(peak.group(1)) / 1024 if peak else 0
        return total

    def stop(self):
        if os.path.ismount(self.mountpoint):
            plain = subprocess.run(["fusermount3", "-u", self.mountpoint], stderr=subprocess.DEVNULL)
            if plain.returncode != 0:
                subprocess.run(["fusermount3", "-u", "-z", self.mountpoint])
        try:
            if self.ends_by_signal:
                self.process.terminate()
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
