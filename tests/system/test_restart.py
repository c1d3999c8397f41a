# SPDX-License-Identifier: MPL-2.0
"""Proves that a restart of the broker costs nothing: SIGTERM leaves workers and running jobs alone,
clients that wait go on with one remark, a backlog is served by the next start; and that a broker
that cannot start says why in one sentence, with the exit code that supervisors know."""

import hashlib
import os
import re
import signal
import socket

import harness


class Restart(harness.Case):
    def test_sigterm_stops_the_broker_only_and_the_next_start_adopts_the_jobs(self):
        pool = self.pool
        events, gate = pool.fifo("events"), pool.fifo("gate")
        broker = pool.broker()
        worker = pool.worker("-j", "2")
        peer = pool.peer()
        job, = peer.submit(argv=["sh", "-c", f"echo $$ > {events.path}; read x < {gate.path}; "
                                             f"echo done"])
        pid = int(events.line())
        broker.send(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        self.assertIn("this broker stops, workers keep their jobs", broker.err())
        self.assertTrue(worker.is_running())
        self.assertTrue(harness.is_alive(pid))
        mark = worker.mark()
        pool.broker()
        worker.wait_line("registered.* 1 jobs running", after=mark)
        self.assertEqual(pool.peer().job(job)["state"], "running")
        gate.open_for()
        peer = pool.peer()
        peer.wait_state(job, "succeeded")
        told = peer.job(job, "stdout")
        self.assertEqual((told["attempts"], told["crashes"], told["bodies"]), (1, 0, [b"done\n"]))

    def test_sigint_does_the_same(self):
        broker = self.pool.broker()
        broker.send(signal.SIGINT)
        self.assertEqual(broker.wait(), 0)

    def restart_under_clients(self, number, code):
        """run, map and wait are under way, the broker goes and comes back."""
        pool = self.pool
        events, gate = pool.fifo("events"), pool.fifo("gate")
        job = ["sh", "-c", f"echo $1 > {events.path}; read x < {gate.path}; echo $1", "_"]
        broker = pool.broker()
        worker = pool.worker("-j", "4")
        run = pool.spawn("run", "--", *job, "run")
        self.assertEqual(events.line(), "run")
        mapping = pool.spawn("map", "--keep-order", "--", *job, "{}", ":::", "m1", "m2")
        self.assertEqual(sorted(events.lines(2)), ["m1", "m2"])
        mapping.wait_line("these jobs are named")
        done = pool.stint("submit", "--", "true").out.strip()
        ids = pool.stint("submit", "--", *job, "wait").lines
        self.assertEqual(events.line(), "wait")
        wait = pool.spawn("wait", "--json", done, *ids)
        wait.wait_line(f'"id":"{done}"', "out")  # now it waits for the other one
        clients = (run, mapping, wait)
        broker.send(number)
        self.assertEqual(broker.wait(), code)
        for client in clients:
            client.wait_line("waiting up to 300 s until it is back")
        mark = worker.mark()
        pool.broker()
        worker.wait_line("registered", after=mark)
        for client in clients:
            client.wait_line("the broker answers again")
        gate.open_for(4)
        self.assertEqual([client.wait() for client in clients], [0, 0, 0])
        self.assertEqual([run.out(), mapping.out()], ["run\n", "m1\nm2\n"])
        self.assertEqual([harness.json.loads(line)["state"] for line in wait.lines["out"]],
                         ["succeeded"] * 2)
        for client in clients:
            remarks = [line for line in client.lines["err"] if "are named" not in line]
            self.assertEqual(len(remarks), 2, remarks)
        return run.lines["err"]

    def test_clients_that_wait_survive_a_planned_stop(self):
        lines = self.restart_under_clients(signal.SIGTERM, 0)
        self.assertIn("stint: the broker is stopping; waiting up to 300 s until it is back", lines)

    def test_clients_that_wait_survive_a_kill(self):
        lines = self.restart_under_clients(signal.SIGKILL, -9)
        self.assertIn("stint: the connection to the broker is lost; waiting up to 300 s until it "
                      "is back", lines)

    def test_a_client_gives_up_when_the_broker_does_not_come_back(self):
        pool = self.pool
        broker = pool.broker()
        job = pool.stint("submit", "--queue", "unserved", "--", "true").out.strip()
        client = pool.spawn("wait", "--reconnect-timeout", "500ms", job)
        client.wait_line("waits: no worker serves queue unserved")
        broker.kill()
        self.assertEqual(client.wait(), 4)
        self.assertIn("did not come back", client.err())

    def test_a_backlog_is_served_by_the_next_start_in_its_order(self):
        pool = self.pool
        broker = pool.broker()
        log = pool.path("order")
        peer = pool.peer()
        low = peer.submit(bodies=[b"%d" % n for n in range(40)], priority=3, input="argv",
                          argv=["sh", "-c", f"echo low $1 >> {log}", "_"])
        high = peer.submit(bodies=[b"%d" % n for n in range(20)], priority=7, input="argv",
                           argv=["sh", "-c", f"echo high $1 >> {log}", "_"])
        broker.send(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        pool.broker()
        peer = pool.peer()
        status = peer.ask("STATUS").header
        self.assertEqual(status["jobs"]["ready"], 60)
        pool.worker("-j", "1")
        peer.wait_all(low + high)
        with open(log, encoding="ascii") as file:
            lines = file.read().splitlines()
        self.assertEqual(lines, [f"high {n}" for n in range(20)] + [f"low {n}" for n in range(40)])

    def test_results_are_the_same_after_the_restart(self):
        pool = self.pool
        broker = pool.broker()
        pool.worker("-j", "2")
        pool.stint("run", "--", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
        pool.stint("run", "--name", "big", "--", "seq", "20000")
        before = pool.stint("list", "--json").out
        peer = pool.peer()
        bodies = [peer.job(i, "payload", "stdout", "stderr")["bodies"] for i in (1, 2)]
        broker.send(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        pool.broker()
        self.assertEqual(pool.stint("list", "--json").out, before)
        peer = pool.peer()
        self.assertEqual([peer.job(i, "payload", "stdout", "stderr")["bodies"] for i in (1, 2)],
                         bodies)
        self.assertEqual(pool.stint("submit", "--data", "x").out, "3\n", "ids go on")

    def test_the_memory_store_says_loudly_that_it_forgets(self):
        pool = self.pool
        broker = pool.broker("--store", "memory:")
        self.assertRegex(broker.err(), "level=warn.*NOTHING SURVIVES this process")
        worker = pool.worker("-j", "1")
        self.assertEqual(pool.stint("run", "--", "echo", "hello").out, "hello\n")
        self.assertEqual(pool.stint("status", "--json").json()["store"], "memory:")
        broker.kill()
        mark = worker.mark()
        pool.broker("--store", "memory:")
        worker.wait_line("registered", after=mark)
        pool.stint("show", "1", code=3)
        self.assertEqual(pool.stint("run", "--", "echo", "again").out, "again\n")
        self.assertEqual([n for n in os.listdir(pool.path("b")) if "db" in n], [])


class CannotStart(harness.Case):
    """One sentence on stderr, and an exit code that says what kind of trouble it is."""

    def fails(self, code, sentence, *options, bind=None):
        broker = self.pool.broker(*options, bind=bind, wait=False)
        self.assertEqual(broker.wait(), code, broker.err())
        lines = [line for line in broker.lines["err"] if "level=info" not in line]
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], sentence)
        self.assertEqual(broker.out(), "")

    def test_a_second_broker_in_the_same_directory(self):
        pool = self.pool
        pool.broker()
        self.fails(75, f"another broker serves {pool.address} .*stint shutdown")
        self.fails(75, "another broker serves", "--store", "memory:")
        pool.stint("ping")

    def test_a_directory_where_others_may_write(self):
        pool = self.pool
        path = pool.path("open")
        os.mkdir(path)
        os.symlink(path, pool.path("link"))
        for mode in (0o777, 0o1777, 0o770):
            os.chmod(path, mode)
            self.fails(2, f"other users may write to the directory {path}.*chmod go-w",
                       bind=[f"ipc://{path}"])
            self.fails(2, "other users may write", bind=[f"ipc://{pool.path('link')}"])
        os.chmod(path, 0o755)
        pool.broker(bind=[f"ipc://{path}"])

    def test_a_directory_of_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give a directory away")
        path = self.pool.path("theirs")
        os.mkdir(path, 0o700)
        os.chown(path, 12345, 12345)
        self.fails(2, f"{path} belongs to another user .12345.", bind=[f"ipc://{path}"])

    def test_a_second_broker_on_the_same_store(self):
        pool = self.pool
        pool.broker()
        store = f"sqlite:{pool.path('b', 'stint.db')}"
        self.fails(75, "stint.db is in use by another process", "--store", store,
                   bind=[f"ipc://{pool.path('other')}"])
        pool.stint("ping")

    def test_an_address_in_use(self):
        pool = self.pool
        port = pool.free_port()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port + 1))
            taken.listen()
            self.fails(98, f"cannot bind tcp://127.0.0.1:{port + 1}: the address is in use",
                       bind=[f"tcp://127.0.0.1:{port}", pool.address])

    def damage(self, change):
        """A store with some jobs, damaged by change(bytearray); returns its path."""
        pool = self.pool
        broker = pool.broker()
        pool.peer().submit(bodies=[b"payload %d" % n for n in range(200)])
        broker.send(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        path = pool.path("b", "stint.db")
        with open(path, "rb") as file:
            data = bytearray(file.read())
        change(data)
        with open(path, "wb") as file:
            file.write(data)
        return path

    @staticmethod
    def digest(path):
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def test_a_changed_byte_in_a_row_is_found_and_named(self):
        def change(data):
            at = data.index(b"payload 150")
            data[at + 3] ^= 0x20

        path = self.damage(change)
        before = self.digest(path)
        self.fails(65, rf"{re.escape(path)} is damaged: table \w+, row \d+")
        self.assertEqual(self.digest(path), before, "the damaged store was not left as it was")

    def test_a_torn_page_is_found(self):
        def change(data):
            data[8192:12288] = os.urandom(4096)

        path = self.damage(change)
        self.fails(65, rf"{re.escape(path)}")

    def test_a_file_that_is_no_store_is_left_alone(self):
        os.mkdir(self.pool.path("b"), 0o700)
        path = self.pool.path("b", "stint.db")
        with open(path, "w", encoding="ascii") as file:
            file.write("the diary of somebody else\n" * 200)
        before = self.digest(path)
        self.fails(65, "stint.db is not a store of stint, .* it was left as it is")
        self.assertEqual(self.digest(path), before)

    def test_bad_options_are_2(self):
        for options, sentence in (
                (["--lease", "1s"], "--lease must be at least 4 times --interval"),
                (["--lease", "soon"], "--lease"),
                (["--leese", "1s"], "did you mean --lease"),
                (["--bind", "tcp://0.0.0.0:5870"], "add --insecure if the network is private"),
                (["--bind", "carrier-pigeon://x"], "carrier-pigeon"),
                (["--log-level", "loud"], "--log-level"),
                (["--check-config", "--store", "postgres://x"], "postgres"),
                (["extra"], "unexpected argument 'extra'"),
                (["--store", "postgres://x"], "postgres"),
                (["--config", "/no/such/file"], "/no/such/file")):
            with self.subTest(options):
                self.fails(2, sentence, *options)
                self.assertFalse(os.path.exists(self.pool.path("b")), "something was made")

    def test_check_config_only_checks(self):
        checked = self.pool.broker("--check-config", wait=False)
        self.assertEqual((checked.wait(), checked.out(), checked.err()), (0, "", ""))
        self.assertFalse(os.path.exists(self.pool.path("b")))
        self.fails(2, "--lease must be", "--check-config", "--lease", "1s")
        config = self.pool.path("broker.ini")
        with open(config, "w", encoding="ascii") as file:
            file.write("lease = 20s\nleese = 1\n")
        self.fails(2, "leese", "--check-config", "--config", config)

    def test_a_setting_is_printed_with_its_origin(self):
        config = self.pool.path("broker.ini")
        with open(config, "w", encoding="ascii") as file:
            file.write("lease = 20s\n")
        shown = self.pool.broker("--config", config, "--print-config", "--keep", "1h", wait=False,
                                 env={"STINT_LOG_LEVEL": "warn"})
        self.assertEqual(shown.wait(), 0)
        for setting in (r"lease *= *20s .*broker\.ini", r"keep *= *1h .*command line",
                        r"log-level *= *warn .*STINT_LOG_LEVEL", r"away *= *2m .*default"):
            self.assertRegex(shown.out(), setting)

    def test_help_and_version_are_on_stdout(self):
        for program in ("stint-broker", "stint-worker", "stint"):
            shown = self.pool.start([program, "--help"], env={"PATH": self.pool.env["PATH"]})
            self.assertEqual((shown.wait(), shown.err()), (0, ""))
            text = shown.out()
            self.assertLess(text.index("Examples:"), text.index("ptions:"))
            version = self.pool.start([program, "--version"])
            self.assertEqual(version.wait(), 0)
            self.assertRegex(version.out(), r"libzmq \d+\.\d+\.\d+")


if __name__ == "__main__":
    harness.main()
