# SPDX-License-Identifier: MPL-2.0
"""Proves the first five minutes: the three commands work as typed, with no configuration, as root
and as an ordinary user; `stint run` behaves as if the command ran here (output, exit code, signal,
directory, environment, stdin); and without a broker the message says where it was looked for and
what starts a pool."""

import hashlib
import os
import shutil
import subprocess

import harness

AS_TYPED = """
stint-broker & stint-worker & stint run -- echo hello
code=$?
stint shutdown --quiet
wait
exit $code
"""

# Root's own directories are /run/stint and /var/lib/stint: here empty ones that only this test sees.
AS_ROOT = """
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
set +e
""" + AS_TYPED


def can_mount():
    return subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/run"],
                          capture_output=True, check=False).returncode == 0


class AsTyped(harness.Case):
    """No option, no file, no variable: only a home."""

    def ordinary_user(self):
        """Words that become nobody where the test is root, and a copy of the programs that nobody
        may execute, wherever the build is."""
        pool = self.pool
        shutil.copytree(harness.BIN, pool.path("bin"),
                        ignore=lambda _, names: [n for n in names if not n.startswith("stint")])
        os.chmod(pool.path("bin"), 0o755)
        pool.env["PATH"] = pool.env["PATH"].replace(harness.BIN, pool.path("bin"))
        if os.geteuid() != 0:
            return []
        os.chown(pool.path("home"), 65534, 65534)
        return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]

    def start_bare(self, argv):
        return self.pool.start(argv, cwd=self.pool.path("home"),
                               env={"STINT_BROKER": None, "XDG_STATE_HOME": None})

    def test_an_ordinary_user_types_three_commands(self):
        shell = self.start_bare([*self.ordinary_user(), "sh", "-c", AS_TYPED])
        self.assertEqual(shell.wait(), 0, shell.err())
        self.assertEqual(shell.out(), "hello\n")
        state = self.pool.path("home", ".local", "state", "stint")
        self.assertTrue(os.path.exists(os.path.join(state, "stint.db")))
        self.assertEqual(os.stat(state).st_mode & 0o777, 0o700, "other users could look in")

    @harness.unittest.skipUnless(os.geteuid() == 0 and can_mount(), "needs root and mounts")
    def test_root_types_three_commands(self):
        shell = self.start_bare(["unshare", "-m", "sh", "-c", AS_ROOT])
        self.assertEqual(shell.wait(), 0, shell.err())
        self.assertEqual(shell.out(), "hello\n")
        self.assertIn("ipc:///run/stint, store sqlite:/var/lib/stint/stint.db", shell.err())

    def test_without_a_broker_status_says_where_it_looked_and_what_to_type(self):
        begin = harness.now()
        status = self.start_bare([*self.ordinary_user(), "stint", "status"])
        self.assertEqual(status.wait(), 4)
        took = harness.now() - begin
        self.assertGreater(took, 4)
        self.assertLess(took, harness.bound(7))
        self.assertEqual(status.out(), "")
        home = self.pool.path("home", ".local", "state", "stint")
        self.assertIn("stint status: no broker answered within 5 s", status.err())
        self.assertIn(f"ipc://{home} (", status.err())
        self.assertIn("ipc:///run/stint (", status.err())
        self.assertIn("    stint-broker &\n    stint-worker &\n", status.err())

    def test_without_a_broker_run_ends_with_125(self):
        done = self.pool.stint("run", "--connect-timeout", "200ms", "--", "true", code=125)
        self.assertIn(self.pool.address, done.err)
        self.assertIn("stint-broker &", done.err)
        done = self.pool.stint("run", "--json", "--connect-timeout", "200ms", "--", "true",
                               code=125)
        self.assertEqual(harness.json.loads(done.err)["error"], "unreachable")

    def test_without_a_home_only_the_machines_own_directory_is_left(self):
        user = self.ordinary_user()
        for words, code in ((["stint-broker"], 74),
                            (["stint", "ping", "--connect-timeout", "200ms"], 4)):
            process = self.pool.start([*user, *words], env={"HOME": None, "XDG_STATE_HOME": None,
                                                            "STINT_BROKER": None})
            self.assertEqual(process.wait(), code)
            self.assertIn("/run/stint", process.lines["err"][0])

    def test_the_worker_may_be_there_before_the_broker(self):
        worker = self.pool.worker(wait=False)
        worker.wait_line("broker: ipc://")
        client = self.pool.spawn("run", "--", "echo", "hello")
        self.pool.broker()
        self.assertEqual(client.wait(), 0, client.err())
        self.assertEqual(client.out(), "hello\n")


class Run(harness.SharedCase):
    """As if the command ran here."""

    def test_exit_codes_are_the_commands(self):
        for code in (0, 1, 7, 125, 255):
            done = self.stint("run", "--", "sh", "-c", f"exit {code}", code=code)
            self.assertEqual(done.out, "")

    def test_a_signal_is_128_and_its_number(self):
        done = self.stint("run", "--", "sh", "-c", "kill -9 $$", code=137)
        self.assertRegex(done.err, r"stint: job \d+ failed: signal 9\n")
        self.stint("run", "--", "sh", "-c", "kill -TERM $$", code=143)

    def test_what_cannot_be_executed_is_126_or_127(self):
        plain = self.pool.path("plain")
        with open(plain, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n")
        done = self.stint("run", "--", plain, code=126)
        self.assertIn(f"cannot execute '{plain}': Permission denied (worker w1)", done.err)
        for command in ("/no/such/program", "no-such-program"):
            done = self.stint("run", "--", command, code=127)
            self.assertIn(f"cannot execute '{command}': No such file or directory (worker w1)",
                          done.err)

    def test_a_command_that_ends_with_127_itself_is_no_missing_command(self):
        job = self.stint("run", "--json", "--", "sh", "-c", "exit 127", code=127).json()
        self.assertEqual((job["exit_code"], job["reason"]), (127, "exit 127"))

    def test_both_outputs_come_through_unchanged(self):
        done = self.stint("run", "--", "sh", "-c", r"printf '\001\377 no end'; echo bad >&2")
        self.assertEqual(done.raw, b"\x01\xff no end")
        self.assertEqual(done.err, "bad\n")

    def test_the_directory_is_the_submitters(self):
        os.makedirs(self.pool.path("here", "below"), exist_ok=True)
        here = os.path.realpath(self.pool.path("here"))
        self.assertEqual(self.stint("run", "--", "pwd", cwd=here).out, here + "\n")
        self.assertEqual(self.stint("run", "--cwd", "below", "--", "pwd", cwd=here).out,
                         here + "/below\n")
        self.assertEqual(self.stint("run", "--cwd", "/", "--", "pwd", cwd=here).out, "/\n")
        done = self.stint("run", "--cwd", "/no/where", "--", "pwd", code=126)
        self.assertIn("cannot enter the directory '/no/where'", done.err)
        self.assertIn("worker w1", done.err)

    def test_the_environment_is_the_workers_and_what_was_asked_for(self):
        done = self.stint("run", "--env", "A=1 2", "--env", "COPIED", "--", "env",
                          env={"COPIED": "yes", "SECRET": "submitter's"})
        got = dict(line.split("=", 1) for line in done.lines)
        self.assertEqual(got.pop("A"), "1 2")
        self.assertEqual(got.pop("COPIED"), "yes")
        self.assertEqual(got.pop("STINT_JOB_QUEUE"), "default")
        self.assertEqual(got.pop("STINT_ATTEMPT"), "1")
        self.assertEqual(got.pop("STINT_WORKER"), "w1")
        self.assertRegex(got.pop("STINT_JOB_ID"), r"^\d+$")
        self.assertRegex(got.pop("STINT_LEASE"), r"^\d+$")
        self.assertIn(got.pop("STINT_SLOT"), ("1", "2"))
        self.assertLessEqual(set(got), {"PATH", "HOME", "USER", "LANG", "TZ", "PWD"}, got)
        done = self.stint("run", "--env", "NOT_SET_HERE", "--", "env", code=125)
        self.assertIn("NOT_SET_HERE", done.err)

    def test_stdin_travels_when_asked_for(self):
        data = os.urandom(300_000)
        done = self.stint("run", "--stdin", "--", "sha256sum", input=data)
        self.assertEqual(done.out.split()[0], hashlib.sha256(data).hexdigest())
        self.assertEqual(self.stint("run", "--", "cat", input="not asked for").out, "")
        done = self.stint("run", "--stdin", "--", "cat", input=b"x" * (1 << 20) + b"y", code=125)
        self.assertIn("larger than a payload may be (1048576 bytes)", done.err)

    def test_the_time_limit_is_124(self):
        done = self.stint("run", "--time-limit", "100ms", "--", "tail", "-f", "/dev/null",
                          code=124)
        self.assertRegex(done.err, r"stint: job \d+ failed: time limit\n")

    def test_the_first_word_that_is_no_option_ends_the_options(self):
        self.assertEqual(self.stint("run", "echo", "-n", "--help").out, "--help")

    def test_no_shell_runs_the_command_and_a_mistake_is_explained(self):
        done = self.stint("run", "--", "echo a b", code=125)
        self.assertIn("write its words separately: stint run -- echo a b", done.err)
        done = self.stint("run", "--", "echo a | wc", code=125)
        self.assertIn("stint run -- sh -c 'echo a | wc'", done.err)
        self.assertEqual(self.stint("run", "--", "echo", "$HOME;*").out, "$HOME;*\n")

    def test_the_first_line_is_seen_while_the_job_runs_and_nothing_is_seen_twice(self):
        gate = self.pool.fifo("live-gate")
        client = self.pool.spawn("run", "--", "sh", "-c",
                                 f"echo one; echo two >&2; read x < {gate.path}; echo three")
        client.wait_line("^one$", "out")
        client.wait_line("^two$", "err")
        self.assertTrue(client.is_running())
        gate.open_for()
        self.assertEqual(client.wait(), 0)
        self.assertEqual((client.out(), client.err()), ("one\nthree\n", "two\n"))

    def test_much_output_is_complete_and_in_order(self):
        done = self.stint("run", "--", "seq", "150000")
        self.assertEqual(done.out, "".join(f"{n}\n" for n in range(1, 150001)))

    def test_output_above_the_limit_is_said_and_is_125(self):
        done = self.stint("run", "--output-limit", "64K", "--", "seq", "100000", code=125)
        self.assertIn("its output was cut (--output-limit)", done.err)
        job = self.stint("run", "--json", "--output-limit", "1K", "--", "seq", "100000",
                         code=125).json()
        self.assertEqual((job["state"], job["truncated"], job["stdout_bytes"]),
                         ("succeeded", True, len("".join(f"{n}\n" for n in range(1, 100001)))))
        self.assertEqual(len(job["stdout"]), 1024)
        self.assertTrue(job["stdout"].startswith("1\n2\n"))
        self.assertTrue(job["stdout"].endswith("99999\n100000\n"))
        # also where everything could be shown live: what is kept is cut, each time
        self.stint("run", "--output-limit", "10", "--", "seq", "100", code=125)

    def test_why_a_job_does_not_start_is_said_within_two_seconds(self):
        begin = harness.now()
        client = self.pool.spawn("run", "--queue", "unserved", "--", "true")
        line = client.wait_line("waits: ")
        self.assertLess(harness.now() - begin, harness.bound(2))
        self.assertIn("no worker serves queue unserved", line)
        job_id = line.split()[2]
        self.stint("cancel", job_id)
        self.assertEqual(client.wait(), 125)
        self.assertIn("cancelled", client.err())

    def test_the_files_for_output_are_the_workers(self):
        here = self.pool.path("home")
        done = self.stint("run", "--stdout", "out.txt", "--stderr", self.pool.path("err.txt"), "--",
                          "sh", "-c", "echo a; echo b >&2", cwd=here)
        self.assertEqual((done.out, done.err), ("", ""))
        with open(os.path.join(here, "out.txt"), encoding="ascii") as file:
            self.assertEqual(file.read(), "a\n")
        with open(self.pool.path("err.txt"), encoding="ascii") as file:
            self.assertEqual(file.read(), "b\n")

    def test_retries_run_it_again_until_it_succeeds(self):
        flag = self.pool.path("tried")
        done = self.stint("run", "--retries", "3", "--retry-delay", "10ms", "--", "sh", "-c",
                          f"test -e {flag} && echo second || {{ echo first; touch {flag}; exit 9; }}")
        self.assertEqual(done.lines[-1], "second")
        job = self.stint("show", "--json", "last").json()
        self.assertEqual((job["attempts"], job["crashes"]), (2, 0))
        self.assertEqual([(a["attempt"], a["outcome"], a["reason"]) for a in job["history"]],
                         [(1, "fail", "exit 9")])


if __name__ == "__main__":
    harness.main()
