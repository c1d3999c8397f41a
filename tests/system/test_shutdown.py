# SPDX-License-Identifier: MPL-2.0
"""Proves the ways to stop: `stint shutdown` over the control socket in its three modes, watched to
its end, a harder one in place of a softer one; signals to workers; and that whatever was not done
is stored and runs after the next start, counted as no failure."""

import os
import signal

import harness


class Shutdown(harness.Case):
    """A broker, one worker with two slots, and a job that lasts as long as the test wants."""

    def setUp(self):
        super().setUp()
        self.events, self.gate = self.pool.fifo("events"), self.pool.fifo("gate")
        self.hold = ["sh", "-c", f"setsid tail -f /dev/null & echo $$ $! > {self.events.path}; "
                                 f"read x < {self.gate.path}; kill $!; echo held"]
        self.broker = self.pool.broker()
        self.worker = self.pool.worker("-j", "1", name="w1")
        self.peer = self.pool.peer()

    def hold_one(self):
        """A running job and its processes."""
        job, = self.peer.submit(argv=self.hold)
        return job, [int(pid) for pid in self.events.line().split()]

    def shutdown(self, *options):
        return self.pool.spawn("shutdown", *options)

    def both_have_left(self):
        self.assertEqual(self.broker.wait(), 0)
        self.assertEqual(self.worker.wait(), 0)

    def next_start(self):
        """The same directory again; returns a client of it."""
        self.broker = self.pool.broker()
        self.worker = self.pool.worker("-j", "1", name="w2")
        return self.pool.peer()

    def test_finish_lets_running_jobs_finish_and_keeps_the_others(self):
        job, _ = self.hold_one()
        waiting, = self.peer.submit(argv=["echo", "later"])
        client = self.shutdown()
        client.wait_line("finishing: 1 running, 1 ready, 1 workers, at most 30 s")
        done = self.pool.stint("submit", "--", "true", code=5)
        self.assertIn("draining", done.err)
        self.pool.stint("run", "--", "true", code=125)
        reply = self.peer.ask("SUBMIT", "default", None, [b""])
        self.assertEqual((reply.verb, reply.subject), ("ERR", "draining"))
        self.assertTrue(self.peer.ask("STATUS").header["stopping"])
        self.gate.open_for()
        self.assertEqual(client.wait(), 0, client.err())
        self.assertIn("the broker has stopped", client.err())
        self.assertEqual(client.out(), "")
        self.both_have_left()
        peer = self.next_start()
        self.assertEqual(peer.job(job, "stdout")["bodies"], [b"held\n"])
        peer.wait_state(waiting, "succeeded")
        self.assertEqual(peer.job(waiting)["attempts"], 1)

    def test_an_idle_pool_is_gone_at_once(self):
        for mode in ((), ("--drain",), ("--now",)):
            begin = harness.now()
            done = self.pool.stint("shutdown", *mode)
            self.assertLess(harness.now() - begin, harness.bound(2))
            self.assertIn("the broker has stopped", done.err)
            self.both_have_left()
            self.next_start()

    def test_what_outlasts_the_grace_is_given_back_and_runs_again(self):
        job, pids = self.hold_one()
        self.pool.stint("shutdown", "--grace", "200ms")
        self.both_have_left()
        for pid in pids:
            self.assertFalse(harness.is_alive(pid))
        peer = self.next_start()
        self.events.line()
        self.gate.open_for()
        peer.wait_state(job, "succeeded")
        told = peer.job(job)
        self.assertEqual((told["attempts"], told["crashes"]), (2, 0))
        self.assertEqual([a["outcome"] for a in told["history"]], ["released"])

    def test_now_gives_everything_back_at_once(self):
        job, pids = self.hold_one()
        begin = harness.now()
        self.pool.stint("shutdown", "--now")
        self.assertLess(harness.now() - begin, harness.bound(3))
        self.both_have_left()
        for pid in pids:
            self.assertFalse(harness.is_alive(pid))
        peer = self.next_start()
        self.events.line()
        self.gate.open_for()
        peer.wait_state(job, "succeeded")
        self.assertEqual(peer.job(job)["crashes"], 0)

    def test_drain_runs_all_that_is_ready_and_keeps_what_is_scheduled(self):
        later, = self.peer.submit(argv=["false"], retries=1, retry_delay_ms=3_600_000)
        self.peer.wait_state(later, "scheduled")
        job, _ = self.hold_one()
        ready = self.peer.submit(argv=["true"], bodies=[b""] * 20)
        client = self.shutdown("--drain", "--json")
        first = harness.json.loads(client.wait_line("draining", "out"))
        self.assertEqual(first, dict(first, phase="draining", running=1, ready=20, scheduled=1,
                                     workers=1))
        self.pool.stint("submit", "--data", "x", code=5)
        self.gate.open_for()
        self.assertEqual(client.wait(), 0, client.err())
        self.assertEqual(client.err().count("error"), 0)
        told = [harness.json.loads(line) for line in client.lines["out"]]
        for line in told:
            self.assertEqual(set(line), {"phase", "running", "ready", "scheduled", "workers",
                                         "left_ms"})
        phases = ["draining", "finishing", "releasing", "stopping_workers", "done"]
        seen = [phases.index(line["phase"]) for line in told]
        self.assertEqual(seen, sorted(seen))
        self.assertEqual(told[-1]["phase"], "done")
        self.both_have_left()
        self.broker = self.pool.broker()
        peer = self.pool.peer()
        self.assertEqual({peer.job(i)["state"] for i in (job, *ready)}, {"succeeded"})
        self.assertEqual(peer.job(later)["state"], "scheduled")

    def test_a_harder_one_replaces_a_softer_one_and_never_the_other_way(self):
        job, pids = self.hold_one()
        drain = self.shutdown("--drain")
        drain.wait_line("draining: 1 running")
        finish = self.shutdown("--finish", "--grace", "1h")
        finish.wait_line("finishing: 1 running")
        drain.wait_line("finishing: 1 running")
        softer = self.pool.stint("shutdown", "--drain", code=5)
        self.assertIn("a harder shutdown is under way", softer.err)
        now = self.shutdown("--now")
        self.assertEqual([client.wait() for client in (now, finish, drain)], [0, 0, 0])
        self.both_have_left()
        for pid in pids:
            self.assertFalse(harness.is_alive(pid))
        self.broker = self.pool.broker()
        self.assertEqual(self.pool.peer().job(job)["state"], "ready")

    def test_keep_workers_leaves_them_for_the_next_broker(self):
        job, pids = self.hold_one()
        mark = self.worker.mark()
        done = self.pool.stint("shutdown", "--keep-workers", "--grace", "200ms")
        self.assertIn("its workers wait for the next one", done.err)
        self.assertEqual(self.broker.wait(), 0)
        for pid in pids:
            harness.await_death(pid, harness.bound(5))
        self.assertTrue(self.worker.is_running())
        self.broker = self.pool.broker()
        self.worker.wait_line("registered", after=mark)
        self.events.line()
        self.gate.open_for()
        peer = self.pool.peer()
        peer.wait_state(job, "succeeded")
        self.assertEqual(peer.job(job)["crashes"], 0)

    def test_clients_that_wait_are_told_and_may_wait_on(self):
        waiting, = self.peer.submit(argv=["true"], queue="unserved")
        done, = self.peer.submit(argv=["true"])
        client = self.pool.spawn("wait", "--json", str(waiting), str(done))
        client.wait_line(f'"id":"{done}"', "out")
        self.pool.stint("shutdown", "--now")
        client.wait_line("waiting up to 300 s until it is back")
        self.both_have_left()
        self.broker = self.pool.broker()
        client.wait_line("the broker answers again")
        self.pool.worker("-q", "unserved", "-j", "1")
        self.assertEqual(client.wait(), 0)

    def test_without_a_broker_it_is_4(self):
        self.pool.stint("shutdown")
        self.both_have_left()
        self.pool.stint("shutdown", "--connect-timeout", "200ms", code=4)

    def test_two_modes_at_once_are_a_mistake(self):
        done = self.pool.stint("shutdown", "--drain", "--now", code=2)
        self.assertIn("only one of --drain, --finish and --now", done.err)
        self.pool.stint("ping")

    @staticmethod
    def seen(reply):
        return {key: reply.header[key] for key in ("phase", "running", "ready", "workers")}

    def test_the_control_socket_by_hand(self):
        control = self.pool.peer("control")
        self.assertEqual(control.ask("PROGRESS").header["phase"], "serving")
        self.assertEqual(control.ask("PING").verb, "OK")
        self.assertEqual(control.ask("LOG", "debug").verb, "OK")
        self.assertEqual(control.ask("LOG", "loud").subject, "bad_argument")
        self.assertEqual(control.ask("SHUTDOWN", "gently").subject, "bad_argument")
        self.assertEqual(control.ask("SHUTDOWN", "now", {"grace": 1}).verb, "ERR")
        self.assertEqual(control.ask("SUBMIT", "default", None, [b""]).verb, "ERR")
        self.assertEqual(self.peer.ask("SHUTDOWN", "now").verb, "ERR", "clients cannot stop it")
        self.assertEqual(self.peer.ask("PING").verb, "OK")
        # a caller that watches does not keep out the next one
        job, _ = self.hold_one()
        watcher, other = self.pool.peer("control"), self.pool.peer("control", harness.zmq.REQ)
        reply = watcher.ask("SHUTDOWN", "finish", {"grace_ms": 60_000})
        self.assertEqual(reply.header["running"], 1)
        watcher.send("PROGRESS", "", self.seen(reply))
        self.assertEqual(other.ask("STATUS").header["stopping"], True)
        self.gate.open_for()
        while reply.header["phase"] != "done":
            reply = watcher.receive()
            self.assertEqual(reply.verb, "OK", reply)
            if reply.header["phase"] != "done":
                watcher.send("PROGRESS", "", self.seen(reply))
        self.both_have_left()
        self.broker = self.pool.broker()
        self.assertEqual(self.pool.peer().job(job)["state"], "succeeded")


class Signals(harness.Case):
    """What a worker does when it is told to go."""

    def setUp(self):
        super().setUp()
        self.events, self.gate = self.pool.fifo("events"), self.pool.fifo("gate")
        self.pool.broker()
        self.peer = self.pool.peer()

    def hold_one(self):
        job, = self.peer.submit(argv=["sh", "-c", f"echo $$ $STINT_WORKER > {self.events.path}; "
                                                  f"read x < {self.gate.path}"])
        return job, int(self.events.line().split()[0])

    def one_that_waits(self):
        """A job that no worker takes. The news that a worker takes none may still be on its way to
        the broker: the worker runs such a job, or gives it back."""
        for _ in range(50):
            job, = self.peer.submit(argv=["true"])
            if self.peer.wait_state(job, "ready", "succeeded") == "ready":
                return job
        raise AssertionError("the worker still takes jobs")

    def test_term_finishes_what_runs_and_takes_nothing_more(self):
        worker = self.pool.worker("-j", "2", name="w1")
        job, _ = self.hold_one()
        worker.send(signal.SIGTERM)
        worker.wait_line("draining: 1 jobs running")
        other = self.one_that_waits()
        self.gate.open_for()
        self.assertEqual(worker.wait(), 0)
        self.assertEqual(self.peer.job(job)["state"], "succeeded")
        self.assertEqual(self.peer.job(other)["state"], "ready")
        harness.until(lambda: self.peer.ask("WORKERS").header["workers"] == [],
                      "a worker that said goodbye is not listed")
        self.pool.worker("-j", "1", name="w2")
        self.peer.wait_state(other, "succeeded")

    def leaves_at_once(self, *numbers, options=()):
        """The running job is given back, runs elsewhere, and that counts as no crash."""
        worker = self.pool.worker("-j", "1", *options, name="w1")
        job, pid = self.hold_one()
        self.pool.worker("-j", "1", name="w2")
        begin = harness.now()
        for number in numbers:
            mark = worker.mark()
            worker.send(number)
            if number is signal.SIGTERM and len(numbers) > 1:
                worker.wait_line(".", after=mark)
        self.assertEqual(worker.wait(), 0)
        self.assertLess(harness.now() - begin, harness.bound(5))
        self.assertFalse(harness.is_alive(pid))
        self.assertEqual(self.events.line().split()[1], "w2")
        self.gate.open_for()
        self.peer.wait_state(job, "succeeded")
        told = self.peer.job(job)
        self.assertEqual((told["attempts"], told["crashes"]), (2, 0))
        self.assertEqual([a["outcome"] for a in told["history"]], ["released"])

    def test_int_gives_back_at_once(self):
        self.leaves_at_once(signal.SIGINT)

    def test_a_second_term_gives_back_at_once(self):
        self.leaves_at_once(signal.SIGTERM, signal.SIGTERM)

    def test_term_gives_back_at_the_end_of_the_grace(self):
        self.leaves_at_once(signal.SIGTERM, options=("--grace", "200ms"))

    def test_usr1_takes_no_more_and_goes_on_with_what_runs(self):
        worker = self.pool.worker("-j", "2", name="w1")
        job, _ = self.hold_one()
        worker.send(signal.SIGUSR1)
        worker.wait_line("quiet: takes no more jobs")
        other = self.one_that_waits()
        self.gate.open_for()
        self.peer.wait_state(job, "succeeded")
        self.assertEqual(self.peer.job(other)["state"], "ready")
        self.assertTrue(worker.is_running())
        worker.send(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)

    def test_a_worker_that_never_found_a_broker_leaves_too(self):
        worker = self.pool.worker("--log-level", "debug", wait=False,
                                  env={"STINT_BROKER": f"ipc://{self.pool.path('x')}"})
        worker.wait_line("dialling ipc")
        worker.send(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)


@harness.unittest.skipUnless(os.geteuid() == 0, "needs root to make a process namespace")
class FirstProcess(harness.Case):
    """As the first process of a container: every orphan becomes its child."""

    def start_first(self, program, *options):
        outer = self.pool.start(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                                 os.path.join(harness.BIN, program), *options], program)
        return outer, lambda: next(p for p, row in harness.descendants(outer.pid).items()
                                   if row[0] == outer.pid)

    def test_the_worker_reaps_and_leaves_cleanly(self):
        self.pool.broker()
        outer, inner = self.start_first("stint-worker", "--name", "first", "-j", "2")
        outer.wait_line("registered with broker")
        events, gate = self.pool.fifo("events"), self.pool.fifo("gate")
        peer = self.pool.peer()
        # orphans that end after their job's first process, some while others still run
        orphans = peer.submit(bodies=[b""] * 20, argv=[
            "sh", "-c", "(setsid sh -c 'true; exec true' &) ; (true &) ; exit 0"])
        states = {job["state"] for job in peer.wait_all(orphans).values()}
        self.assertEqual(states, {"succeeded"})
        # a keeper that dies leaves its tree to the first process
        job, = peer.submit(argv=["sh", "-c", "setsid tail -f /dev/null & "
                                             f"echo up > {events.path}; read x < {gate.path}"])
        events.line()
        first = inner()
        keeper = next(row[0] for row in harness.descendants(first).values() if row[2] == "sh")
        tree = harness.descendants(keeper)
        self.assertEqual(len(tree), 2)
        os.kill(keeper, signal.SIGKILL)
        peer.wait_state(job, "failed")
        for pid in tree:
            harness.await_death(pid, harness.bound(5))
        self.assertEqual(harness.Pool._lasting_zombies(first), set())
        again, = peer.submit(argv=["true"])
        peer.wait_state(again, "succeeded")
        os.kill(first, signal.SIGTERM)
        self.assertEqual(outer.wait(), 0)

    def test_the_broker_leaves_cleanly(self):
        outer, inner = self.start_first("stint-broker", "--bind", self.pool.address)
        outer.wait_line("ready")
        self.pool.stint("ping")
        os.kill(inner(), signal.SIGTERM)
        self.assertEqual(outer.wait(), 0)


if __name__ == "__main__":
    harness.main()
