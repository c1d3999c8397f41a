# SPDX-License-Identifier: MPL-2.0
"""Proves the contract of the command line: the fields of --json, the exit codes, what stands on
stdout and what on stderr, selectors, usage errors that help, signals, pipes and colours."""

import base64
import json
import os
import pty
import signal
import subprocess

import harness

JOB_FIELDS = ["id", "queue", "state", "reason", "exit_code", "signal", "name", "attempts",
              "crashes", "priority", "submitted_at", "not_before", "started_at", "finished_at",
              "run_seconds", "worker", "argv", "cwd", "meta", "payload_bytes", "stdout_bytes",
              "stderr_bytes", "truncated", "existing", "waiting_for"]
STATUS_FIELDS = ["version", "broker_start", "store", "store_bytes", "store_free_bytes", "jobs",
                 "rates", "workers"]
WORKER_FIELDS = ["name", "host", "pid", "queues", "kinds", "slots", "slots_busy", "state",
                 "silent_seconds", "succeeded", "failed", "containment"]
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
ESCAPE = "\033["


class Json(harness.SharedCase):
    """The field names are frozen: scripts read them."""

    def test_a_job_has_these_fields_in_this_order(self):
        self.stint("run", "--name", "näme", "--priority", "7", "--", "sh", "-c", "exit 3", code=3)
        show = self.stint("show", "--json", "last").json()
        self.assertEqual(list(show), [*JOB_FIELDS, "history"])
        self.assertEqual(list(self.stint("list", "--json", "--limit", "1").json()), JOB_FIELDS)
        run = self.stint("run", "--json", "--", "true").json()
        self.assertEqual(list(run), [*JOB_FIELDS, "stdout", "stderr"])
        mapped = self.stint("map", "--json", "--", "echo", ":::", "x").json()
        self.assertEqual(list(mapped), [*JOB_FIELDS, "item", "stdout", "stderr"])
        self.assertIsInstance(show["id"], str)
        self.assertEqual(
            {key: show[key] for key in ("queue", "state", "reason", "exit_code", "signal", "name",
                                        "attempts", "crashes", "priority", "not_before", "worker",
                                        "argv", "meta", "truncated", "existing", "waiting_for")},
            {"queue": "default", "state": "failed", "reason": "exit 3", "exit_code": 3,
             "signal": None, "name": "näme", "attempts": 1, "crashes": 0, "priority": 7,
             "not_before": None, "worker": "w1", "argv": ["sh", "-c", "exit 3"], "meta": None,
             "truncated": False, "existing": False, "waiting_for": None})
        for key in ("submitted_at", "started_at", "finished_at"):
            self.assertRegex(show[key], TIME)

    def test_text_that_is_no_utf8_is_base64_under_another_key(self):
        run = self.stint("run", "--json", "--", "printf", r"\377\001").json()
        self.assertEqual(base64.b64decode(run["stdout_base64"]), b"\xff\x01")
        self.assertNotIn("stdout", run)
        odd = self.pool.stint("run", "--json", "--", "echo", b"\xff").json()
        self.assertEqual(base64.b64decode(odd["argv_base64"][1]), b"\xff")

    def test_status_workers_ping_have_these_fields(self):
        status = self.stint("status", "--json").json()
        self.assertEqual(list(status), STATUS_FIELDS)
        self.assertEqual(set(status["jobs"]), {"ready", "scheduled", "running", "succeeded",
                                               "failed", "cancelled", "expired"})
        self.assertEqual(set(status["rates"]), {"submitted_per_second", "finished_per_second"})
        self.assertEqual(set(status["workers"]), {"active", "silent", "lost", "slots",
                                                  "slots_busy"})
        worker = self.stint("workers", "--json").json()
        self.assertEqual(list(worker), WORKER_FIELDS)
        self.assertEqual((worker["name"], worker["queues"], worker["kinds"], worker["slots"],
                          worker["state"]), ("w1", ["default"], ["command"], 2, "active"))
        self.assertEqual(worker["pid"], self.worker.pid)
        self.assertGreaterEqual(set(self.stint("ping", "--json").json()),
                                {"version", "broker_start", "address", "seconds"})

    def test_submit_result_wait_cancel(self):
        self.assertEqual(list(self.stint("submit", "--json", "--", "echo", "x").json()), ["id"])
        waited = self.stint("wait", "--json", "last").json()
        self.assertEqual((waited["state"], waited["exit_code"], waited["signal"]),
                         ("succeeded", 0, None))
        result = self.stint("result", "--json", "last").json()
        self.assertEqual({**result, "id": ""}, {"id": "", "state": "succeeded", "stdout": "x\n",
                                                "truncated": False})
        self.stint("submit", "--queue", "unserved", "--data", "x")
        self.assertEqual(self.stint("cancel", "--json", "last").json(),
                         {"cancelled": 1, "cancelling": 0, "not_open": 0})

    def test_an_error_is_an_object_on_stderr(self):
        for words, code, status in ((["show", "999999"], 3, "not_found"),
                                    (["submit", "--retries", "x"], 2, "usage"),
                                    (["wait", "abc"], 2, "usage")):
            done = self.stint(*words, "--json", code=code)
            error = json.loads(done.err)
            self.assertEqual((error["error"], error["exit_code"]), (status, code))
            self.assertTrue(error["message"])
            self.assertEqual(done.out, "")


class Commands(harness.SharedCase):
    def unserved(self, count=1, **options):
        return self.peer.submit("unserved", bodies=[b"payload"] * count, **options)

    def test_submit_prints_just_ids_in_input_order(self):
        done = self.stint("submit", "--queue", "unserved", "--lines", input="a\nb\n\nd")
        ids = [int(line) for line in done.lines]
        self.assertEqual(ids, list(range(ids[0], ids[0] + 4)))
        self.assertEqual(done.err, "")
        self.assertEqual([self.peer.job(i, "payload")["bodies"][0] for i in ids],
                         [b"a", b"b", b"", b"d"])
        done = self.stint("submit", "--queue", "unserved", "--lines", "-0", input=b"a\nb\0\xff\0")
        self.assertEqual([self.peer.job(i, "payload")["bodies"][0] for i in done.lines],
                         [b"a\nb", b"\xff"])
        self.assertEqual(self.stint("submit", "--lines", input="").out, "")

    def test_submit_takes_its_payload_from_one_place(self):
        path = self.pool.path("payload")
        with open(path, "wb") as file:
            file.write(b"\0from a file")
        for words, data, payload in ((["--data", "text"], None, b"text"),
                                     (["--file", path], None, b"\0from a file"),
                                     (["--file", "-"], "piped", b"piped"),
                                     ([], "piped", b"piped"),
                                     (["--stdin", "--", "cat"], "piped", b"piped"),
                                     (["--", "cat"], "not read", b"")):
            job, = self.stint("submit", "--queue", "unserved", *words, input=data).lines
            self.assertEqual(self.stint("show", "--payload", job).raw, payload)
        self.stint("submit", "--data", "x", "--file", path, code=2)
        done = self.stint("submit", "--file", "/no/such", code=2)
        self.assertIn("/no/such", done.err)
        self.stint("submit", "--cwd", "/", "--data", "x", code=2)

    def test_the_options_of_a_job_arrive(self):
        self.stint("submit", "--queue", "unserved", "--priority", "9", "--time-limit", "90",
                   "--retries", "4", "--name", "n", "--cwd", "/tmp", "--env", "A=b", "--", "x")
        job = self.stint("show", "--json", "last").json()
        self.assertEqual((job["queue"], job["priority"], job["name"], job["cwd"], job["argv"]),
                         ("unserved", 9, "n", "/tmp", ["x"]))
        self.assertEqual(job["waiting_for"], "no worker serves queue unserved")
        self.assertEqual(self.stint("submit", "--", "true", env={"STINT_QUEUE": "by-env"}).code, 0)
        self.assertEqual(self.stint("show", "--json", "last").json()["queue"], "by-env")

    def test_selectors(self):
        a, b, c, d = self.unserved(4)
        both = f"{a}\n{b}\n"

        def cancelled(*words, code=0, **more):
            return self.stint("cancel", "--dry-run", *words, code=code, **more).out

        self.assertEqual(cancelled(str(a)), "1 would be cancelled\n")
        self.assertEqual(cancelled(f"{a}-{c}"), "3 would be cancelled\n")
        self.assertEqual(cancelled(f"{a},{c}"), "2 would be cancelled\n")
        self.assertEqual(cancelled(f"{a}-{b}", str(d), str(d)), "3 would be cancelled\n")
        self.assertEqual(cancelled("-", input=both), "2 would be cancelled\n")
        self.assertEqual(cancelled("-", input=f"{a}-{d},{c}"), "4 would be cancelled\n")
        self.assertEqual(cancelled(f"{a}-999999"), "4 would be cancelled\n",
                         "a range selects what exists")
        for nothing in ("999999", "999990-999999"):
            self.assertEqual(cancelled(nothing, code=3), "")
        for bad in ("x", "0", "7-", "-7", "9-7", "1,,2", "1;2", "18446744073709551616", "Last"):
            with self.subTest(bad):
                done = self.stint("show", "--", bad, code=2)
                self.assertEqual(len(done.err.splitlines()), 1)
        self.assertIn("which jobs?", self.stint("wait", code=2).err)
        self.stint("wait", "-", input="", code=3)

    def test_last_is_the_last_submit_of_this_user(self):
        one = {"XDG_STATE_HOME": self.pool.path("state-1")}
        two = {"XDG_STATE_HOME": self.pool.path("state-2")}
        first = self.stint("submit", "--queue", "unserved", "--lines", input="a\nb\n", env=one)
        self.stint("submit", "--queue", "unserved", "--data", "x", env=two)
        listed = self.stint("list", "--json", "last", env=one).json_lines()
        self.assertEqual([job["id"] for job in listed], first.lines[::-1])
        done = self.stint("wait", "last", code=3, env={"XDG_STATE_HOME": self.pool.path("none")})
        self.assertIn("there is no last submit, run or map", done.err)

    def test_wait_counts_its_jobs(self):
        ok = self.stint("submit", "--", "true").out.strip()
        bad = self.stint("submit", "--", "sh", "-c", "exit 9").out.strip()
        never = str(self.unserved()[0])
        self.assertEqual(self.stint("wait", ok).err, "")
        done = self.stint("wait", ok, bad, code=1)
        self.assertEqual(done.err, f"stint: job {bad} failed: exit 9\n")
        done = self.stint("wait", "--timeout", "200ms", ok, never, code=124)
        self.assertEqual(done.out, "")
        self.stint("wait", "--timeout", "200ms", bad, never, code=124)
        self.stint("wait", "--timeout", "10ms", "999999", code=3)
        begin = harness.now()
        self.assertEqual(self.stint("wait", "--any", ok, never).out, ok + "\n")
        self.assertLess(harness.now() - begin, harness.bound(3))
        self.stint("wait", "--any", bad, never, code=1)

    def test_wait_says_why_a_job_does_not_start(self):
        never, = self.unserved()
        client = self.pool.spawn("wait", str(never))
        self.assertIn("no worker serves queue unserved", client.wait_line(f"job {never} waits: "))
        self.stint("cancel", str(never), "--reason", "enough")
        self.assertEqual(client.wait(), 1)
        self.assertRegex(client.err(), f"job {never} cancelled by .*: enough")

    def test_result_is_the_bytes_and_nothing_else(self):
        self.stint("run", "--", "sh", "-c", r"printf '\377\n'; printf err >&2")
        done = self.stint("result", "last")
        self.assertEqual((done.raw, done.err), (b"\xff\n", ""))
        self.assertEqual(self.stint("result", "--stderr", "last").out, "err")
        self.stint("run", "--", "sh", "-c", "echo partly; exit 4", code=4)
        done = self.stint("result", "last", code=1)
        self.assertEqual(done.out, "partly\n")
        self.assertIn("failed: exit 4", done.err)
        self.stint("submit", "--output-limit", "4", "--", "echo", "0123456789")
        self.stint("wait", "last", code=1)
        done = self.stint("result", "last", code=1)
        self.assertEqual(done.raw, b"0189\n"[:2] + b"9\n")
        self.assertIn("its output was cut", done.err)
        never, = self.unserved()
        done = self.stint("result", str(never), code=5)
        self.assertIn(f"job {never} is ready; wait for it, or see it live with --follow", done.err)
        self.stint("result", "999999", code=3)

    def test_result_follow_shows_a_running_job_from_its_beginning(self):
        gate = self.pool.fifo("follow-gate")
        job = self.stint("submit", "--", "sh", "-c",
                         f"echo one; read x < {gate.path}; echo two").out.strip()
        first = self.pool.spawn("result", "--follow", job)
        first.wait_line("^one$", "out")
        second = self.pool.spawn("result", "--follow", job)
        second.wait_line("^one$", "out")
        gate.open_for()
        for client in (first, second):
            self.assertEqual(client.wait(), 0)
            self.assertEqual((client.out(), client.err()), ("one\ntwo\n", ""))

    def test_list_filters_and_says_when_there_is_more(self):
        ids = self.unserved(5, name="listed")
        done = self.stint("list", "--name", "listed")
        self.assertEqual(done.err, "")
        self.assertEqual([line.split()[0] for line in done.lines],
                         ["ID", *[str(i) for i in reversed(ids)]])
        done = self.stint("list", "--json", "--name", "listed", "--limit", "2")
        self.assertEqual([int(job["id"]) for job in done.json_lines()], [ids[4], ids[3]])
        self.assertIn("there are more; see them with --limit", done.err)
        self.stint("cancel", str(ids[0]))
        done = self.stint("list", "--json", "--name", "listed", "--state", "cancelled,failed")
        self.assertEqual([int(job["id"]) for job in done.json_lines()], [ids[0]])
        done = self.stint("list", "--queue", "unserved", "--json", f"{ids[1]}-{ids[2]}")
        self.assertEqual([int(job["id"]) for job in done.json_lines()], [ids[2], ids[1]])
        done = self.stint("list", "--name", "no such")
        self.assertEqual((done.out, done.err), ("", "stint: no jobs\n"))
        self.stint("list", "999999", code=3)
        done = self.stint("list", "--state", "reedy", code=2)
        self.assertIn("expected scheduled, ready, running", done.err)

    def test_tables_are_aligned_and_never_cut(self):
        name = "n" * 120
        self.unserved(1, name=name)
        lines = self.stint("list", "--name", name, env={"COLUMNS": "40"}).lines
        self.assertIn(name, lines[1])
        self.assertEqual(lines[0].index("NAME"), lines[1].index(name))

    def test_cancel_ends_waiting_jobs_at_once_and_running_ones_with_their_tree(self):
        gate = self.pool.fifo("cancel-gate")
        waiting, = self.unserved()
        job = self.stint("submit", "--", "sh", "-c", f"setsid tail -f /dev/null & echo $! $$ > "
                                                     f"{gate.path}; wait").out.strip()
        pids = [int(pid) for pid in gate.line().split()]
        done = self.stint("cancel", "--wait", "--reason", "wrong input", str(waiting), job)
        self.assertEqual(done.out, "1 cancelled, 1 running told to stop\n")
        for pid in pids:
            self.assertFalse(harness.is_alive(pid), "--wait came back too early")
        shown = self.stint("show", job).out
        self.assertRegex(shown, r"reason +cancelled by \S+: wrong input")
        self.assertEqual(self.peer.job(waiting)["state"], "cancelled")
        done = self.stint("cancel", job, code=3)
        self.assertIn("none of these jobs is unfinished", done.err)

    def test_show_tells_what_is_known(self):
        self.stint("run", "--name", "n", "--", "sh", "-c", "echo 'a b'; exit 2", code=2)
        shown = dict(line.split(None, 1) for line in self.stint("show", "last").lines
                     if not line.startswith(" "))
        self.assertEqual(shown["command"], "sh -c 'echo '\\''a b'\\''; exit 2'")
        self.assertEqual((shown["state"], shown["reason"], shown["worker"], shown["name"]),
                         ("failed", "exit 2", "w1", "n"))

    def test_status_and_workers_are_readable(self):
        status = self.stint("status").out
        for word in ("broker   ", "store    ", "jobs     ", "workers  ", "QUEUE"):
            self.assertIn(word, status)
        header, row = self.stint("workers").lines
        self.assertEqual(header.split(), ["NAME", "STATE", "QUEUES", "KINDS", "BUSY", "SILENT",
                                          "SUCCEEDED", "FAILED", "HOST"])
        self.assertEqual(row.split()[:4], ["w1", "active", "default", "command"])
        self.assertEqual(header.index("STATE"), row.index("active"))

    def test_ping(self):
        self.assertIn(f"{self.pool.address} serves, version ", self.stint("ping").out)
        done = self.stint("ping", "--quiet")
        self.assertEqual((done.out, done.err), ("", ""))
        nowhere = f"ipc://{self.pool.path('nowhere')}"
        self.stint("ping", "--broker", nowhere, "--wait", "100ms", code=4)
        self.stint("ping", "--broker", nowhere, "--connect-timeout", "100ms", code=4)

    def test_general_options_stand_before_or_after_the_command(self):
        nowhere = {"STINT_BROKER": f"ipc://{self.pool.path('nowhere')}"}
        self.stint("--broker", self.pool.address, "ping", env=nowhere)
        self.stint("ping", "--broker", self.pool.address, env=nowhere)
        self.stint("--json", "status").json()
        config = self.pool.path("stint.ini")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"broker = {self.pool.address}\n")
        self.stint("--config", config, "ping", env={"STINT_BROKER": None})
        self.stint("ping", env={"STINT_BROKER": None, "STINT_CONFIG": config})
        shown = self.stint("status", "--config", config, "--print-config").out
        self.assertRegex(shown, "broker *= *.* STINT_BROKER")

    def test_a_usage_error_is_one_line_that_helps(self):
        for words, code, text in (
                (["shutdwn"], 2, "unknown command 'shutdwn' (did you mean shutdown?)"),
                (["stauts"], 2, "did you mean status?"),
                (["xyzzy"], 2, "see stint --help"),
                ([], 2, "which command?"),
                (["wait", "--timout", "3", "1"], 2, "did you mean --timeout?"),
                (["run", "--time-limti", "3", "true"], 125, "did you mean --time-limit?"),
                (["run"], 125, "which command?"),
                (["submit", "--prio", "3", "true"], 2, "did you mean --priority?"),
                (["submit", "--priority", "10", "true"], 2, "expected 0 to 9"),
                (["submit", "--queue", "a b", "true"], 2, "--queue"),
                (["submit", "--env", "=x", "true"], 2, "--env"),
                (["submit", "--output-limit", "65M", "true"], 2, "--output-limit"),
                (["status", "--json=yes"], 2, "--json"),
                (["status", "extra"], 2, "extra"),
                (["workers", "extra"], 2, "extra"),
                (["ping", "extra"], 2, "extra"),
                (["shutdown", "now"], 2, "now"),
                (["show", "--payload=1", "1"], 2, "--payload"),
                (["list", "--limit"], 2, "--limit"),
                (["wait", "--timeout", "5 minutes", "1"], 2, "expected a duration")):
            with self.subTest(words):
                done = self.stint(*words, code=code)
                self.assertEqual(done.out, "")
                self.assertEqual(len(done.err.splitlines()), 1, done.err)
                self.assertIn(text, done.err)
        self.stint("ping")

    def test_help_is_on_stdout_with_examples_first(self):
        for command in ("submit", "run", "map", "wait", "show", "result", "list", "cancel",
                        "status", "workers", "ping", "shutdown"):
            done = self.stint(command, "--help")
            self.assertEqual(done.err, "")
            self.assertIn(f"\n  stint {command}", done.out)
            self.assertLess(done.out.index("Examples:"), done.out.index("General options:"))
        for option in ("--retries", "--crash-limit"):
            self.assertIn(option, self.stint("run", "--help").out)


class Surroundings(harness.SharedCase):
    """Signals, pipes, terminals."""

    def hold(self, name, *words):
        """A client whose job runs until the test lets it end."""
        gate = self.pool.fifo(name)
        events = self.pool.fifo(name + "-events")
        client = self.pool.spawn(*words, "sh", "-c",
                                 f"echo $STINT_JOB_ID > {events.path}; echo started; "
                                 f"read x < {gate.path}")
        client.wait_line("^started$", "out")  # so it knows its job, and not only the worker does
        return client, gate, events.line()

    def test_ctrl_c_leaves_the_job_of_run_running(self):
        client, gate, job = self.hold("int-1", "run", "--")
        client.send(signal.SIGINT)
        line = client.wait_line("goes on")
        self.assertIn(f"stint result --follow {job}", line)
        self.assertIn("Ctrl-C again: cancel it", line)
        self.assertEqual(client.wait(), 130)
        self.assertEqual(self.peer.job(job)["state"], "running")
        gate.open_for()
        self.peer.wait_state(job, "succeeded")

    def test_ctrl_c_twice_cancels_the_job_of_run(self):
        client, _, job = self.hold("int-2", "run", "--")
        client.send(signal.SIGINT)
        client.wait_line("goes on")
        client.send(signal.SIGINT)
        self.assertEqual(client.wait(), 130)
        self.assertIn("cancelled", client.err())
        self.peer.wait_state(job, "cancelled")

    def test_term_detaches_run(self):
        client, gate, job = self.hold("term-1", "run", "--")
        client.send(signal.SIGTERM)
        self.assertEqual(client.wait(), 143)
        self.assertIn(f"job {job} goes on", client.err())
        gate.open_for()
        self.peer.wait_state(job, "succeeded")

    def test_ctrl_c_ends_wait_at_once(self):
        done = self.stint("submit", "--", "true").out.strip()
        never, = self.peer.submit("unserved")
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            client = self.pool.spawn("wait", "--json", done, str(never))
            client.wait_line(f'"id":"{done}"', "out")
            client.send(number)
            self.assertEqual(client.wait(), code)
        self.assertEqual(self.peer.job(never)["state"], "ready")

    def test_a_closed_pipe_ends_quietly(self):
        self.peer.submit("unserved", bodies=[b""] * 1000, name="piped")
        for command in ("stint list --limit 1000 --name piped", "stint run -- seq 200000",
                        "stint list --limit 1000 --json --name piped"):
            done = subprocess.run(
                ["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"],
                env=self.pool.env, capture_output=True, check=False, text=True,
                timeout=harness.bound(20))
            self.assertIn(done.stdout.splitlines()[-1], ("141", "0"), command)
            self.assertEqual([line for line in done.stderr.splitlines()
                              if "there are more" not in line], [], command)

    def on_terminal(self, *words, **env):
        """What a command writes to a terminal."""
        leader, follower = pty.openpty()
        client = self.pool.start([harness.STINT, *words], "stint", stdout=follower,
                                 env={"TERM": "xterm", **env})
        os.close(follower)
        text = b""
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:
                break
            if not chunk:
                break
            text += chunk
        os.close(leader)
        self.assertEqual(client.wait(), 0, client.err())
        return text.decode()

    def test_colours_are_for_terminals(self):
        self.stint("run", "--", "true")
        listing = ("list", "--limit", "1")
        self.assertIn(ESCAPE, self.on_terminal(*listing))
        self.assertNotIn(ESCAPE, self.on_terminal(*listing, NO_COLOR="1"))
        self.assertNotIn(ESCAPE, self.on_terminal(*listing, "--color=never"))
        self.assertIn(ESCAPE, self.on_terminal(*listing, "--color=always", NO_COLOR="1"))
        self.assertNotIn(ESCAPE, self.stint(*listing).out)
        self.assertIn(ESCAPE, self.stint(*listing, "--color", "always").out)
        self.stint(*listing, "--color", "sometimes", code=2)

    def test_a_jobs_text_cannot_write_to_the_terminal(self):
        self.stint("submit", "--queue", "unserved", "--name", "a\033[2Jb\nc", "--", "true")
        self.assertNotIn("\033", self.stint("list", "--limit", "1").out)
        self.assertEqual(len(self.stint("list", "--limit", "1").lines), 2)
        self.assertNotIn("\033", self.stint("show", "last").out)

    def test_a_full_disk_behind_stdout_is_said(self):
        with open("/dev/full", "wb") as full:
            for words in (("status",), ("list", "--json"), ("run", "--", "echo", "x")):
                client = self.pool.start([harness.STINT, *words], "stint", stdout=full)
                self.assertNotEqual(client.wait(), 0, words)
                self.assertIn("No space left", client.err())


if __name__ == "__main__":
    harness.main()
