# SPDX-License-Identifier: MPL-2.0
"""Proves what a worker does with jobs: handler programs for payloads, queues by preference, kinds it
does not take, slots, time limits, cancellation of whole process trees, and that over TCP it runs
commands only when told to."""

import os
import signal

import harness

UPPER = ("tr", "a-z", "A-Z")


class Payloads(harness.Case):
    def test_a_handler_gets_the_payload_and_its_stdout_is_the_result(self):
        pool = self.pool
        pool.broker()
        pool.worker("-j", "2", program=UPPER)
        peer = pool.peer()
        payloads = [b"one", b"", b"a\0b\xff", b"x" * (1 << 20)]
        ids = peer.submit(bodies=payloads)
        finished = peer.wait_all(ids, results=True)
        self.assertEqual([finished[i]["bodies"][0] for i in ids], [p.upper() for p in payloads])
        self.assertEqual(pool.stint("workers", "--json").json()["kinds"], ["payload"])
        job = pool.stint("submit", "--data", "typed").out.strip()
        pool.stint("wait", job)
        self.assertEqual(pool.stint("result", job).out, "TYPED")

    def test_a_handler_keeps_the_workers_environment_and_directory(self):
        pool = self.pool
        pool.broker()
        pool.worker("-j", "1", program=["sh", "-c", 'echo "$PWD $MINE $STINT_JOB_ID"; '
                                                    'echo bad >&2; exit "$(cat)"'],
                    cwd=pool.path("home"), env={"MINE": "kept"})
        peer = pool.peer()
        ids = peer.submit(bodies=[b"0", b"6"])
        finished = peer.wait_all(ids, results=True)
        home = os.path.realpath(pool.path("home"))
        self.assertEqual(finished[ids[0]]["bodies"], [f"{home} kept {ids[0]}\n".encode(), b"bad\n"])
        self.assertEqual((finished[ids[1]]["state"], finished[ids[1]]["reason"]),
                         ("failed", "exit 6"))

    def test_a_handler_that_is_missing_fails_the_job_and_names_the_worker(self):
        self.pool.broker()
        self.pool.worker("-j", "1", program=["/no/such/handler"], name="w1")
        peer = self.pool.peer()
        job, = peer.submit()
        peer.wait_state(job, "failed")
        self.assertRegex(peer.job(job)["reason"], "/no/such/handler.*worker w1")

    def test_kinds_go_only_where_they_are_taken(self):
        pool = self.pool
        pool.broker()
        pool.worker("-j", "1", program=UPPER, name="payloads")
        peer = pool.peer()
        command, = peer.submit(argv=["echo", "hi"])
        payload, = peer.submit(bodies=[b"hi"])
        peer.wait_state(payload, "succeeded")
        self.assertEqual(peer.job(command)["waiting_for"],
                         "no worker of queue default takes command jobs")
        client = pool.spawn("wait", str(command))
        client.wait_line("waits: no worker of queue default takes command jobs")
        pool.worker("-j", "1", name="commands")
        self.assertEqual(client.wait(), 0)
        self.assertEqual(peer.job(command)["worker"], "commands")
        self.assertEqual(peer.job(payload)["worker"], "payloads")
        kinds = {w["name"]: w["kinds"] for w in pool.stint("workers", "--json").json_lines()}
        self.assertEqual(kinds, {"payloads": ["payload"], "commands": ["command"]})

    def test_a_worker_may_take_both(self):
        self.pool.broker()
        self.pool.worker("-j", "1", "--allow-commands", program=UPPER)
        peer = self.pool.peer()
        ids = [*peer.submit(argv=["echo", "hi"]), *peer.submit(bodies=[b"hi"])]
        finished = peer.wait_all(ids, results=True)
        self.assertEqual([finished[i]["bodies"][0] for i in ids], [b"hi\n", b"HI"])


class Queues(harness.Case):
    def test_the_preferred_queue_goes_first(self):
        pool = self.pool
        gate, log = pool.fifo("gate"), pool.path("log")
        pool.broker()
        peer = pool.peer()
        note = {"argv": ["sh", "-c", f'read n; echo "$STINT_JOB_QUEUE $n" >> {log}']}
        pool.worker("-q", "mail,default", "-q", "rest", "-j", "1")
        hold, = peer.submit(argv=["sh", "-c", f"read x < {gate.path}"])
        peer.wait_state(hold, "running")
        ids = []
        for queue in ("rest", "default", "mail"):
            ids += peer.submit(queue, [b"%d\n" % n for n in range(3)], **note)
        gate.open_for()
        peer.wait_all(ids)
        with open(log, encoding="ascii") as file:
            order = file.read().splitlines()
        self.assertEqual(order, [f"{queue} {n}" for queue in ("mail", "default", "rest")
                                 for n in range(3)])
        self.assertEqual(pool.stint("workers", "--json").json()["queues"],
                         ["mail", "default", "rest"])

    def test_a_queue_may_come_from_the_environment(self):
        pool = self.pool
        pool.env["STINT_QUEUE"] = "work"
        pool.broker()
        pool.worker("-j", "1")
        self.assertEqual(pool.stint("run", "sh", "-c", "echo $STINT_JOB_QUEUE").out, "work\n")

    def test_priorities_inside_a_queue(self):
        pool = self.pool
        gate, log = pool.fifo("gate"), pool.path("log")
        pool.broker()
        peer = pool.peer()
        pool.worker("-j", "1")
        hold, = peer.submit(argv=["sh", "-c", f"read x < {gate.path}"])
        peer.wait_state(hold, "running")
        ids = []
        for priority in (2, 9, 5, 0, 9):
            ids += peer.submit(priority=priority,
                               argv=["sh", "-c", f"echo {priority} >> {log}"])
        gate.open_for()
        peer.wait_all(ids)
        with open(log, encoding="ascii") as file:
            self.assertEqual(file.read().split(), ["9", "9", "5", "2", "0"])


class Slots(harness.Case):
    def test_as_many_jobs_at_a_time_as_there_are_slots(self):
        pool = self.pool
        events, gate = pool.fifo("events"), pool.fifo("gate")
        pool.broker()
        pool.worker("-j", "4", name="w1")
        peer = pool.peer()
        ids = peer.submit(bodies=[b""] * 9, argv=[
            "sh", "-c", f"echo $STINT_SLOT > {events.path}; read x < {gate.path}"])
        self.assertEqual(sorted(events.lines(4)), ["1", "2", "3", "4"])
        self.assertEqual(peer.ask("STATUS").header["workers"],
                         {"active": 1, "silent": 0, "lost": 0, "slots": 4, "slots_busy": 4})
        self.assertEqual(peer.job(ids[8])["waiting_for"], "all 4 slots of queue default are busy")
        self.assertTrue(events.is_silent())
        gate.open_for(9)
        events.lines(5)
        peer.wait_all(ids)

    def test_bad_options_are_2_and_say_why(self):
        for options, sentence in ((["-j", "0"], "--slots"), (["-j", "2000"], "--slots"),
                                  (["-q", "a b"], "--queue"), (["--name", ""], "--name"),
                                  (["--sluts", "1"], "did you mean --slots"),
                                  (["--broker", "nowhere"], "nowhere"),
                                  (["--grace", "long"], "--grace")):
            with self.subTest(options):
                worker = self.pool.worker(*options, wait=False)
                self.assertEqual(worker.wait(), 2)
                self.assertEqual(len(worker.lines["err"]), 1, worker.err())
                self.assertIn(sentence, worker.err())
        shares = self.pool.worker("-j", "1%", "--print-config", wait=False)
        self.assertEqual(shares.wait(), 0)
        self.assertRegex(shares.out(), "slots *= *1% .*command line")


class Ends(harness.Case):
    def test_what_a_job_leaves_behind_is_ended_with_it(self):
        pool = self.pool
        pool.broker()
        pool.worker("-j", "1")
        done = pool.stint("run", "--", "sh", "-c",
                          "setsid tail -f /dev/null & echo $!; "
                          "(setsid sh -c 'tail -f /dev/null >/dev/null 2>&1 & echo $!')")
        for pid in done.lines:
            self.assertFalse(harness.is_alive(int(pid)), "the end came before the last process's")
        self.assertEqual(len(done.lines), 2)

    def test_who_ignores_term_is_killed_after_the_grace(self):
        """Ten seconds of grace for three jobs side by side: cancelled, beyond the time limit, and
        one that does react, with time to clean up."""
        pool = self.pool
        events = pool.fifo("events")
        pool.broker()
        pool.worker("-j", "3", name="w1")
        peer = pool.peer()
        deaf = ["sh", "-c", f"trap '' TERM; (setsid tail -f /dev/null & echo $! $$ > "
                            f"{events.path}); while :; do read x < {pool.path('never')}; done"]
        os.mkfifo(pool.path("never"))
        cancelled, = peer.submit(argv=deaf)
        pids = [int(pid) for pid in events.line().split()]
        limited, = peer.submit(argv=deaf, time_limit_ms=100)
        pids += [int(pid) for pid in events.line().split()]
        tidy, = peer.submit(argv=["sh", "-c", f"trap 'echo cleaned up; exit 3' TERM; "
                                              f"echo up > {events.path}; "
                                              f"while :; do read x < {pool.path('never')}; done"])
        self.assertEqual(events.line(), "up")
        begin = harness.now()
        reply = peer.ask("CANCEL", harness.ids_text([cancelled, tidy]), {"reason": "enough"})
        self.assertEqual(reply.header, {"cancelled": 0, "cancelling": 2, "not_open": 0})
        peer.wait_state(tidy, "cancelled")
        self.assertLess(harness.now() - begin, harness.bound(5))
        self.assertEqual(peer.job(tidy, "stdout")["bodies"], [b"cleaned up\n"])
        peer.wait_state(cancelled, "cancelled", seconds=20)
        self.assertGreater(harness.now() - begin, 9)
        peer.wait_state(limited, "failed", seconds=20)
        self.assertLess(harness.now() - begin, harness.bound(15))
        self.assertEqual(peer.job(limited)["reason"], "time limit")
        self.assertRegex(peer.job(cancelled)["reason"], "cancelled.*enough")
        for pid in pids:
            self.assertFalse(harness.is_alive(pid))

    def test_a_cancelled_job_that_succeeds_anyway_has_succeeded(self):
        pool = self.pool
        events = pool.fifo("events")
        pool.broker()
        pool.worker("-j", "1")
        peer = pool.peer()
        job, = peer.submit(argv=["sh", "-c", f"trap 'echo done; exit 0' TERM; echo up > "
                                             f"{events.path}; while :; do read x < "
                                             f"{events.path}.never; done"])
        os.mkfifo(events.path + ".never")
        self.assertEqual(events.line(), "up")
        peer.ask("CANCEL", str(job))
        peer.wait_state(job, "succeeded", "cancelled")
        self.assertEqual(peer.job(job, "stdout")["state"], "succeeded")

    def test_a_killed_first_process_takes_its_tree_along(self):
        pool = self.pool
        events = pool.fifo("events")
        pool.broker()
        pool.worker("-j", "1")
        peer = pool.peer()
        job, = peer.submit(argv=["sh", "-c", f"setsid tail -f /dev/null & echo $$ $! > "
                                             f"{events.path}; wait"])
        first, other = map(int, events.line().split())
        os.kill(first, signal.SIGKILL)
        peer.wait_state(job, "failed")
        self.assertEqual((peer.job(job)["reason"], peer.job(job)["signal"]), ("signal 9", 9))
        self.assertFalse(harness.is_alive(other))


class Tcp(harness.Case):
    """A loopback port that is free, a control socket in the pool's directory."""

    def setUp(self):
        super().setUp()
        port = self.pool.free_port()
        self.tcp = f"tcp://127.0.0.1:{port}"
        self.broker = self.pool.broker("--control", self.pool.address, "--store",
                                       f"sqlite:{self.pool.path('jobs.db')}", bind=[self.tcp])
        self.pool.env["STINT_BROKER"] = self.tcp

    def test_commands_only_when_told_to(self):
        refused = self.pool.worker(wait=False)
        self.assertEqual(refused.wait(), 2)
        self.assertEqual(
            refused.err(), "stint-worker: nothing to run: name a program behind --, or say "
            f"--allow-commands to run whatever commands clients of {self.tcp} submit\n")
        self.pool.worker("--allow-commands", "-j", "2", name="w1")
        self.assertEqual(self.pool.stint("run", "--", "echo", "hello").out, "hello\n")
        self.assertEqual(self.pool.stint("workers", "--json").json()["kinds"], ["command"])

    def test_a_handler_needs_no_permission(self):
        self.pool.worker("-j", "1", program=UPPER)
        job = self.pool.stint("submit", "--data", "x").out.strip()
        self.pool.stint("wait", job)
        self.assertEqual(self.pool.stint("result", job).out, "X")

    def test_a_killed_broker_and_a_killed_worker_are_noticed_there_too(self):
        pool = self.pool
        events, gate = pool.fifo("events"), pool.fifo("gate")
        workers = {n: pool.worker("--allow-commands", "-j", "1", name=n) for n in ("w1", "w2")}
        client = pool.spawn("run", "--", "sh", "-c", f"echo $STINT_WORKER > {events.path}; "
                                                     f"read x < {gate.path}; echo end")
        first = events.line()
        begin = harness.now()
        workers[first].kill()
        self.assertNotEqual(events.line(), first)
        if not harness.IS_SANITIZED:
            self.assertLess(harness.now() - begin, 2)
        other = workers["w2" if first == "w1" else "w1"]
        mark = other.mark()
        self.broker.kill()
        pool.broker("--control", pool.address, "--store", f"sqlite:{pool.path('jobs.db')}",
                    bind=[self.tcp])
        other.wait_line("registered.* 1 jobs running", after=mark)
        gate.open_for()
        self.assertEqual((client.wait(), client.out()), (0, "end\n"))

    def test_shutdown_finds_the_control_socket(self):
        worker = self.pool.worker("--allow-commands")
        hidden = self.pool.path("b", "control")
        os.rename(hidden, hidden + "-away")
        done = self.pool.stint("shutdown", "--connect-timeout", "500ms", code=4)
        self.assertIn(f"{self.tcp} (its control socket cannot be reached from here)", done.err)
        os.rename(hidden + "-away", hidden)
        self.pool.stint("shutdown")
        self.assertEqual((self.broker.wait(), worker.wait()), (0, 0))


if __name__ == "__main__":
    harness.main()
