# SPDX-License-Identifier: MPL-2.0
"""What all system tests share: a private pool of real processes, and clients of it.

A test takes a Pool: a directory of its own that holds sockets, store, home and named pipes. It
starts the built programs there, and at the end every daemon has to leave with exit code 0, nothing
that the test started may be left, and no sanitizer may have said a word. On failure the logs of
all processes are printed.

Nothing here sleeps. What has to be waited for is an exit, a line of a process, a line in a named
pipe (Fifo), or an answer of the broker, each with a bound that fails the test.

The programs are taken from the directory in $STINT_BIN, else from the first argument.
"""

import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import zmq

PR_SET_CHILD_SUBREAPER = 36
SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")


def _bin_directory():
    path = os.environ.get("STINT_BIN")
    if path is None and len(sys.argv) > 1 and os.path.isdir(sys.argv[1]):
        path = sys.argv.pop(1)
    if path is None or not os.access(os.path.join(path, "stint-broker"), os.X_OK):
        sys.exit("where are the built programs? Set STINT_BIN, or give their directory as the "
                 "first argument")
    return os.path.abspath(path)


BIN = _bin_directory()
STINT = os.path.join(BIN, "stint")


def _is_sanitized():
    with open(os.path.join(BIN, "stint-broker"), "rb") as program:
        text = program.read()
    return b"__asan_init" in text or b"__tsan_init" in text


IS_SANITIZED = _is_sanitized()


def bound(seconds):
    """A time that is never reached by a product that works: it only ends a test that hangs."""
    return seconds * (4 if IS_SANITIZED else 1)


def now():
    return time.monotonic()


# Orphans of killed daemons come to us, so that none is lost from sight.
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _interrupted(number, _frame):
    raise KeyboardInterrupt(f"signal {number}")


signal.signal(signal.SIGTERM, _interrupted)


# --- processes of the system ---


def process_table():
    """pid -> (parent, state letter, name) of all processes."""
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                text = file.read().decode(errors="replace")
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        state, parent = rest.split()[:2]
        table[int(entry)] = (int(parent), state, name)
    return table


def descendants(pid):
    """Processes below `pid`: pid -> (parent, state, name)."""
    table = process_table()
    found = {}
    level = {pid}
    while level:
        level = {p for p, row in table.items() if row[0] in level and p not in found}
        found.update((p, table[p]) for p in level)
    return found


def is_alive(pid):
    """True while the process runs; a zombie is not alive."""
    row = process_table().get(pid)
    return row is not None and row[1] not in "ZX"


def await_death(pid, seconds):
    """Waits until a process of anybody's is gone; fails when it is not in time."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([fd], [], [], seconds)[0]:
            raise AssertionError(f"process {pid} is still there after {seconds} s")
    finally:
        os.close(fd)


# --- one process of a test ---


class Process:
    """A program with both outputs read line by line while it runs."""

    def __init__(self, name, argv, env, cwd=None, stdin=subprocess.DEVNULL, stdout=None):
        self.name = name
        self.argv = argv
        self.lines = {"out": [], "err": []}
        self.raw = {"out": bytearray(), "err": bytearray()}
        self._news = threading.Condition()
        self._open = 0
        self._popen = subprocess.Popen(argv, env=env, cwd=cwd, stdin=stdin,
                                       stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid = self._popen.pid
        self.stdin = self._popen.stdin
        self._pidfd = os.pidfd_open(self.pid)
        for key, stream in (("out", self._popen.stdout), ("err", self._popen.stderr)):
            if stream is not None:
                self._open += 1
                threading.Thread(target=self._read, args=(key, stream), daemon=True).start()

    def _read(self, key, stream):
        fd = stream.fileno()
        rest = b""
        while True:
            chunk = os.read(fd, 65536)
            with self._news:
                self.raw[key] += chunk
                *whole, rest = (rest + chunk).split(b"\n")
                if not chunk and rest:
                    whole.append(rest)
                self.lines[key] += [line.decode(errors="surrogateescape") for line in whole]
                self._open -= not chunk
                self._news.notify_all()
            if not chunk:
                stream.close()
                return

    def wait_line(self, pattern, stream="err", after=0, seconds=10):
        """The first line that has the pattern in it, of those from index `after` on."""
        end = now() + bound(seconds)
        with self._news:
            while True:
                for line in self.lines[stream][after:]:
                    if re.search(pattern, line):
                        return line
                left = end - now()
                if self._open == 0 or left <= 0:
                    break
                self._news.wait(left)
        raise AssertionError(f"{self.name} wrote no line with '{pattern}' to std{stream}: "
                             f"{self.lines[stream][after:]}")

    def count(self, pattern, stream="err"):
        with self._news:
            return sum(1 for line in self.lines[stream] if re.search(pattern, line))

    def mark(self, stream="err"):
        """An index for wait_line(after=): only what comes from here on."""
        with self._news:
            return len(self.lines[stream])

    def is_running(self):
        return self._popen.poll() is None

    def send(self, number):
        self._popen.send_signal(number)

    def wait(self, seconds=20):
        """The exit code (negative: the signal), after all output was read."""
        if not select.select([self._pidfd], [], [], bound(seconds))[0]:
            raise AssertionError(f"{self.name} still runs after {bound(seconds)} s: {self.argv}")
        code = self._popen.wait()
        end = now() + bound(5)
        with self._news:
            while self._open > 0 and end > now():
                self._news.wait(end - now())
        return code

    def kill(self, number=signal.SIGKILL):
        if self.is_running():
            self.send(signal.SIGCONT)
            self.send(number)
        return self.wait()

    def out(self):
        return self.raw["out"].decode(errors="surrogateescape")

    def err(self):
        return self.raw["err"].decode(errors="surrogateescape")

    def close(self):
        os.close(self._pidfd)
        if self.stdin is not None:
            try:
                self.stdin.close()
            except BrokenPipeError:
                pass


class Fifo:
    """A named pipe: lines from jobs to the test, or a gate that holds jobs until it opens."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path, 0o666)
        os.chmod(path, 0o666)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""

    def line(self, seconds=10):
        """The next line that somebody wrote."""
        end = now() + bound(seconds)
        while b"\n" not in self._rest:
            if not select.select([self._fd], [], [], max(0, end - now()))[0]:
                raise AssertionError(f"no line came through {self.path} in {bound(seconds)} s")
            self._rest += os.read(self._fd, 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def lines(self, count, seconds=10):
        return [self.line(seconds) for _ in range(count)]

    def is_silent(self):
        return not self._rest and not select.select([self._fd], [], [], 0)[0]

    def open_for(self, count=1):
        """Lets so many jobs pass that wait with `read x < PATH`: one byte is one job."""
        os.write(self._fd, b"\n" * count)

    def close(self):
        os.close(self._fd)


# --- clients by hand ---


class Reply:
    def __init__(self, frames):
        self.frames = frames
        self.verb = frames[1].decode()
        self.tag = frames[2]
        self.subject = frames[3].decode(errors="replace")
        self.header = json.loads(frames[4]) if len(frames) > 4 and frames[4] else {}
        self.bodies = frames[5:]

    def __repr__(self):
        return f"<{self.verb} {self.subject} {self.header} {len(self.bodies)} bodies>"


class Peer:
    """A client made of python3-zmq and docs/protocol.md, nothing else."""

    context = zmq.Context()

    def __init__(self, endpoint, kind=zmq.DEALER, correlate=False):
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        if correlate:
            self.socket.setsockopt(zmq.REQ_CORRELATE, 1)
        self.socket.connect(endpoint)

    def send(self, verb, subject="", header=None, bodies=(), tag=b""):
        text = b"" if header is None else json.dumps(header).encode()
        self.socket.send_multipart(
            [b"ST1", verb.encode(), tag, subject.encode(), text, *bodies])

    def has_reply(self, seconds=0.0):
        return self.socket.poll(int(seconds * 1000)) != 0

    def receive(self, seconds=15):
        if not self.has_reply(bound(seconds)):
            raise AssertionError(f"no reply within {bound(seconds)} s")
        return Reply(self.socket.recv_multipart())

    def ask(self, verb, subject="", header=None, bodies=(), tag=b"", seconds=15):
        self.send(verb, subject, header, bodies, tag)
        return self.receive(seconds)

    def submit(self, queue="default", bodies=(b"",), tag=b"", **options):
        """The ids of the new jobs; a refusal fails the test."""
        reply = self.ask("SUBMIT", queue, options or None, bodies, tag)
        if reply.verb != "OK":
            raise AssertionError(f"SUBMIT was refused: {reply}")
        return ids_of(reply.subject)

    def job(self, job_id, *want):
        reply = self.ask("GET", str(job_id), {"want": list(want)} if want else None)
        if reply.verb != "OK":
            raise AssertionError(f"GET {job_id} was refused: {reply}")
        return dict(reply.header, bodies=reply.bodies)

    def wait_state(self, job_id, *states, seconds=15):
        """Long-polls until the job is in one of the states."""
        end = now() + bound(seconds)
        known = {"state": "scheduled"}
        while now() < end:
            reply = self.ask("FOLLOW", str(job_id), known)
            if reply.verb != "OK":
                raise AssertionError(f"FOLLOW {job_id} was refused: {reply}")
            if reply.header["state"] in states:
                return reply.header["state"]
            known = {k: v for k, v in reply.header.items() if k != "waiting_for"}
        raise AssertionError(f"job {job_id} is {known['state']}, not {' or '.join(states)}, "
                             f"after {bound(seconds)} s")

    def wait_all(self, ids, seconds=30, results=False):
        """The finished jobs of the set, id -> job of WAIT (with "bodies" where asked for)."""
        end = now() + bound(seconds)
        since = 0
        found = {}
        wanted = set(ids)
        subject = ids_text(sorted(wanted))
        while len(found) < len(wanted):
            if now() > end:
                raise AssertionError(f"{len(wanted) - len(found)} of {len(wanted)} jobs have not "
                                     f"finished after {bound(seconds)} s")
            reply = self.ask("WAIT", subject, {"since": since, "results": results,
                                               "timeout_ms": 2000})
            if reply.verb != "OK":
                raise AssertionError(f"WAIT was refused: {reply}")
            since = reply.header["since"]
            for at, job in enumerate(reply.header["jobs"]):
                job["bodies"] = reply.bodies[2 * at:2 * at + 2]
                found[int(job["id"])] = job
        return found

    def close(self):
        self.socket.close()


def ids_of(text):
    """'7,9-12' as a list of numbers."""
    ids = []
    for word in text.split(","):
        first, _, last = word.partition("-")
        ids += range(int(first), int(last or first) + 1)
    return ids


def ids_text(ids):
    """A rising list of numbers as '7,9-12'."""
    ranges = []
    for number in ids:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{a}-{b}" if a != b else f"{a}" for a, b in ranges)


# --- a pool ---


class Done:
    """A client command that has ended."""

    def __init__(self, process, code):
        self.code = code
        self.raw = bytes(process.raw["out"])
        self.out = process.out()
        self.err = process.err()
        self.lines = self.out.splitlines()

    def json(self):
        """The one object on stdout."""
        return json.loads(self.out)

    def json_lines(self):
        return [json.loads(line) for line in self.lines]


class Pool:
    """A directory, the environment of its processes, and the processes themselves."""

    def __init__(self, name="pool"):
        base = tempfile.gettempdir()
        if len(base) > 40:  # a socket's path holds 107 bytes
            base = "/tmp"
        self.directory = tempfile.mkdtemp(prefix="stint.", dir=base)
        os.chmod(self.directory, 0o711)
        self.name = name
        self.address = f"ipc://{self.directory}/b"
        self.env = {
            "PATH": BIN + ":/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            "HOME": self.path("home"),
            "XDG_STATE_HOME": self.path("state"),
            "LANG": "C.UTF-8",
            "STINT_BROKER": self.address,
        }
        os.mkdir(self.path("home"))
        for key in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if key in os.environ:
                self.env[key] = os.environ[key]
        self.processes = []
        self._closing = []
        self._names = {}

    def path(self, *words):
        return os.path.join(self.directory, *words)

    # starting

    def start(self, argv, name=None, env=None, **more):
        """Any program, as one of the pool's processes."""
        name = name or os.path.basename(argv[0])
        count = self._names[name] = self._names.get(name, 0) + 1
        merged = dict(self.env, **(env or {}))
        process = Process(f"{name}-{count}", argv, {k: v for k, v in merged.items()
                                                    if v is not None}, **more)
        self.processes.append(process)
        return process

    def _start_daemon(self, argv, name, **more):
        """A daemon dies with the test, whatever ends the test."""
        return self.start(["setpriv", "--pdeathsig", "KILL", "--", *argv], name, **more)

    def broker(self, *options, bind=None, wait=True, **more):
        binds = [f"--bind={a}" for a in (bind or [self.address])]
        broker = self._start_daemon([os.path.join(BIN, "stint-broker"), *binds, *options],
                                    "broker", **more)
        if wait:
            broker.wait_line('msg="?ready')
        return broker

    def worker(self, *options, program=(), wait=True, name=None, **more):
        """A worker; with `wait` one that the broker knows."""
        words = ["--name", name] if name else []
        words += [*options, *(["--", *program] if program else [])]
        worker = self._start_daemon([os.path.join(BIN, "stint-worker"), *words], name or "worker",
                                    **more)
        if wait:
            worker.wait_line("registered with broker")
        return worker

    def spawn(self, *words, **more):
        """A client command that goes on in the background."""
        return self.start([STINT, *words], "stint", **more)

    def stint(self, *words, input=None, code=0, seconds=30, **more):
        """A client command from start to end; `code` is what it has to exit with, or None."""
        process = self.spawn(*words, stdin=subprocess.PIPE if input is not None
                             else subprocess.DEVNULL, **more)
        if input is not None:
            feed(process, input.encode() if isinstance(input, str) else input)
        got = process.wait(seconds)
        done = Done(process, got)
        process.close()
        self.processes.remove(process)
        if SANITIZER_REPORT.search(done.err):
            raise AssertionError(done.err)
        if code is not None and got != code:
            raise AssertionError(f"stint {' '.join(map(repr, words))}: exit code {got}, expected "
                                 f"{code}\nstdout: {done.out[-2000:]}\nstderr: {done.err[-2000:]}")
        return done

    def peer(self, socket_name="clients", kind=zmq.DEALER, correlate=False):
        peer = Peer(f"{self.address}/{socket_name}", kind, correlate)
        self._closing.append(peer)
        return peer

    def fifo(self, name):
        fifo = Fifo(self.path(name))
        self._closing.append(fifo)
        return fifo

    def free_port(self):
        """A port that is free, and the three behind it."""
        first = 20000 + os.getpid() % 20000 // 4 * 4
        for port in range(first, first + 4000, 4):
            probes = [socket.socket() for _ in range(4)]
            try:
                for at, probe in enumerate(probes):
                    probe.bind(("127.0.0.1", port + at))
                return port
            except OSError:
                continue
            finally:
                for probe in probes:
                    probe.close()
        raise AssertionError("no free ports")

    # ending

    def shut(self):
        """Ends the pool as its user would; every daemon that still runs has to exit with 0."""
        problems = []
        for process in self.processes:
            if not process.name.startswith("broker") and process.argv[0] == "setpriv":
                problems += self._end(process, signal.SIGINT)
        for process in self.processes:
            if process.name.startswith("broker"):
                problems += self._end(process, signal.SIGTERM)
        problems += [f"{p.name} still runs: {p.argv}" for p in self.processes if p.is_running()]
        return problems

    def _end(self, process, number):
        if not process.is_running():
            return []
        zombies = self._lasting_zombies(process.pid)
        process.send(number)
        code = process.wait(15)
        problems = [f"{process.name} has not reaped {zombies}"] if zombies else []
        if code != 0:
            problems.append(f"{process.name} ended with exit code {code} after signal {number}")
        return problems

    @staticmethod
    def _lasting_zombies(pid):
        """Zombies below a process that nobody reaps: those that are still there after a look at
        all processes again and again for a while."""
        end = now() + bound(2)
        lasting = None
        while lasting is None or (lasting and now() < end):
            seen = {p for p, row in descendants(pid).items() if row[1] == "Z"}
            lasting = seen if lasting is None else lasting & seen
        return lasting

    def remove(self):
        """Kills what is left, says what it was, and takes the directory away."""
        for process in self.processes:
            process.kill()
        problems = []
        for closing in self._closing:
            closing.close()
        end = now() + bound(5)
        left = descendants(os.getpid())
        while left:
            reap_orphans(left)
            left = descendants(os.getpid())
            alive = [p for p, row in left.items() if row[1] != "Z"]
            if alive and now() < end:
                try:
                    await_death(alive[0], max(0, end - now()))
                except AssertionError:
                    pass
            elif alive:
                problems += [f"process {p} ({row[2]}, state {row[1]}) was left behind"
                             for p, row in left.items()]
                for pid in alive:
                    os.kill(pid, signal.SIGKILL)
                end = now() + bound(5)
        for process in self.processes:
            if SANITIZER_REPORT.search(process.err()):
                problems.append(f"{process.name}: a sanitizer found something")
            process.close()
        return problems

    def logs(self):
        parts = []
        for process in self.processes:
            parts.append(f"---- {process.name}: {' '.join(process.argv)}")
            parts += process.lines["err"][-60:]
            if process.lines["out"]:
                parts.append(f"---- {process.name}, stdout")
                parts += process.lines["out"][-20:]
        return "\n".join(parts)

    def delete(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def reap_orphans(table):
    """Takes the zombies that came to us; those that Popen waits for are gone by now."""
    for pid, row in table.items():
        if row[0] == os.getpid() and row[1] == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def feed(process, data):
    """Writes all of stdin from a thread, as a pipe would; a reader that left is no error."""

    def write():
        try:
            process.stdin.write(data)
            process.stdin.close()
        except OSError:
            pass

    threading.Thread(target=write, daemon=True).start()


def until(condition, what, seconds=10):
    """Asks again until the answer is true; the condition itself waits (a request to the broker)."""
    end = now() + bound(seconds)
    while True:
        answer = condition()
        if answer:
            return answer
        if now() > end:
            raise AssertionError(f"{what}: not so after {bound(seconds)} s")


class Case(unittest.TestCase):
    """A test with pools of its own."""

    maxDiff = None

    def run(self, result=None):
        self._pools = []
        before = len(result.failures) + len(result.errors)
        self._has_failed = lambda: len(result.failures) + len(result.errors) > before
        super().run(result)
        if self._has_failed():
            for pool in self._pools:
                print(f"\n==== {self.id()}, {pool.name}\n{pool.logs()}", file=sys.stderr)
        for pool in self._pools:
            pool.delete()

    def new_pool(self, name="pool"):
        pool = Pool(name)
        self._pools.append(pool)
        return pool

    def setUp(self):
        self.pool = self.new_pool()

    def tearDown(self):
        problems = []
        if not self._has_failed():
            for pool in self._pools:
                problems += pool.shut()
        for pool in self._pools:
            problems += pool.remove()
        if problems and not self._has_failed():
            self.fail("; ".join(problems))


class SharedCase(unittest.TestCase):
    """Tests that share one pool: a broker and a worker with two slots that runs commands."""

    maxDiff = None
    worker_options = ("-j", "2")

    @classmethod
    def setUpClass(cls):
        cls.pool = Pool(cls.__name__)
        try:
            cls.broker = cls.pool.broker()
            cls.worker = cls.pool.worker(*cls.worker_options, name="w1")
            cls.peer = cls.pool.peer()
        except BaseException:
            print(cls.pool.logs(), file=sys.stderr)
            cls.pool.remove()
            cls.pool.delete()
            raise

    @classmethod
    def tearDownClass(cls):
        problems = cls.pool.shut()
        logs = cls.pool.logs()
        problems += cls.pool.remove()
        cls.pool.delete()
        if problems:
            raise AssertionError("; ".join(problems) + "\n" + logs)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            print(f"\n==== {self.id()}\n{self.pool.logs()}", file=sys.stderr)

    def stint(self, *words, **more):
        return self.pool.stint(*words, **more)


def main():
    """Runs the tests of the calling file; the exit code is ctest's."""
    unittest.main(module="__main__", verbosity=2, warnings="ignore")
