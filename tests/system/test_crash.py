# SPDX-License-Identifier: MPL-2.0
"""Proves what kill -9 may cost: of the broker nothing (no acknowledged job is lost, a running job
goes on and runs once, a result never changes), of a worker less than two seconds and no process
left behind, of both together one lease; and that a poison job ends after its crash limit."""

import os
import random
import signal

import harness

# A job that leaves two processes beside itself, one in a session of its own, one an orphan of a
# double fork, and tells all three. It lasts until a byte comes through the gate.
TREE = """
setsid tail -f /dev/null & a=$!
b=$(setsid sh -c 'tail -f /dev/null >/dev/null 2>&1 & echo $!')
echo "start $STINT_WORKER $$ $a $b" > {events}
read x < {gate}
echo "end $STINT_WORKER" > {events}
kill $a $b
"""


class KilledBroker(harness.Case):
    """SIGKILL at any instant, a new start on the same directory."""

    def test_every_acknowledged_job_is_done_once_over_many_kills(self):
        """A submitter that never stops resending, and a broker that is killed at random moments of
        its life: between commit and answer, between result and acknowledgement. The worker lives
        on, so each job writes into its own file exactly once."""
        seed = int(os.environ.get("STINT_SEED", "20240611"))
        dice = random.Random(seed)
        pool = self.pool
        os.mkdir(pool.path("done"))
        broker = pool.broker("--log-level", "warn", wait=False)
        worker = pool.worker("-j", "4")
        command = ["sh", "-c", f'echo $STINT_ATTEMPT >> {pool.path("done")}/$STINT_JOB_ID']
        instance = b"R%016x" % dice.getrandbits(64)
        rounds = 6
        kept = {}     # id -> what WAIT told the first time
        accepted = {}  # sequence -> ids
        sequence = 0
        for turn in range(rounds):
            peer = pool.peer()
            registered = worker.mark()
            # What was asked and not answered before the kill is asked again, word for word.
            for again in range(1, sequence + 1):
                if again not in accepted:
                    reply = peer.ask("SUBMIT", "default", {"argv": command}, [b""] * 25,
                                     instance + b".%d" % again)
                    self.assertEqual(reply.verb, "OK", (seed, turn, reply))
                    accepted[again] = harness.ids_of(reply.subject)
            for _ in range(6):
                sequence += 1
                peer.send("SUBMIT", "default", {"argv": command}, [b""] * 25,
                          instance + b".%d" % sequence)
            for _ in range(dice.randrange(7)):
                reply = peer.receive()
                self.assertEqual(reply.verb, "OK", (seed, turn, reply))
                number = int(reply.tag.decode().rpartition(".")[2])
                accepted[number] = harness.ids_of(reply.subject)
            ids = [i for batch in accepted.values() for i in batch]
            some = dice.sample(ids, min(len(ids), dice.randrange(40)))
            if some:  # by another client: this one's other answers are still on their way
                kept.update(pool.peer().wait_all(some))
            broker.kill()
            broker = pool.broker("--log-level", "warn", wait=False)
            worker.wait_line("registered", after=registered)
        peer = pool.peer()
        for again in range(1, sequence + 1):
            if again not in accepted:
                reply = peer.ask("SUBMIT", "default", {"argv": command}, [b""] * 25,
                                 instance + b".%d" % again)
                accepted[again] = harness.ids_of(reply.subject)
        ids = sorted(i for batch in accepted.values() for i in batch)
        self.assertEqual(len(set(ids)), 25 * sequence, f"an id was given twice, seed {seed}")
        finished = peer.wait_all(ids)
        self.assertEqual({job["state"] for job in finished.values()}, {"succeeded"})
        self.assertEqual(sorted(map(int, os.listdir(pool.path("done")))), ids)
        for job_id in ids:
            with open(pool.path("done", str(job_id)), encoding="ascii") as file:
                runs = file.read().split()
            self.assertEqual(len(runs), 1, f"job {job_id} ran {len(runs)} times, seed {seed}")
        for job_id, first in kept.items():
            self.assertEqual(finished[job_id], first, f"a result has changed, seed {seed}")

    def test_a_running_job_is_adopted_and_runs_once(self):
        pool = self.pool
        events, gate = pool.fifo("events"), pool.fifo("gate")
        broker = pool.broker()
        worker = pool.worker("-j", "2")
        peer = pool.peer()
        job, = peer.submit(argv=["sh", "-c", f"echo start > {events.path}; read x < {gate.path}; "
                                             f"echo end > {events.path}; echo result"])
        self.assertEqual(events.line(), "start")
        mark = worker.mark()
        broker.kill()
        pool.broker()
        self.assertIn("1 jobs running", worker.wait_line("registered", after=mark))
        peer = pool.peer()
        self.assertEqual(peer.job(job)["state"], "running")
        gate.open_for()
        self.assertEqual(events.line(), "end")
        peer.wait_state(job, "succeeded")
        told = peer.job(job, "stdout")
        self.assertEqual((told["attempts"], told["crashes"], told["history"], told["bodies"]),
                         (1, 0, [], [b"result\n"]))
        self.assertTrue(events.is_silent(), "it ran twice")

    def test_a_job_that_ends_while_no_broker_is_there_is_reported_to_the_next(self):
        pool = self.pool
        events, gate = pool.fifo("events"), pool.fifo("gate")
        broker = pool.broker()
        pool.worker("-j", "1")
        peer = pool.peer()
        job, = peer.submit(argv=["sh", "-c", f"echo $$ > {events.path}; read x < {gate.path}; "
                                             "exit 5"])
        pid = int(events.line())
        broker.kill()
        gate.open_for()
        harness.await_death(pid, harness.bound(5))
        pool.broker()
        peer = pool.peer()
        peer.wait_state(job, "failed")
        told = peer.job(job)
        self.assertEqual((told["attempts"], told["exit_code"]), (1, 5))


class KilledWorker(harness.Case):
    """SIGKILL of the daemon: its jobs die with it and run elsewhere."""

    def tree_job(self, peer, **options):
        self.events, self.gate = self.pool.fifo("events"), self.pool.fifo("gate")
        script = TREE.format(events=self.events.path, gate=self.gate.path)
        return peer.submit(argv=["sh", "-c", script], **options)[0]

    def started(self):
        """The worker's name and the processes of the attempt that just began."""
        words = self.events.line().split()
        self.assertEqual(words[0], "start")
        return words[1], [int(pid) for pid in words[2:]]

    def states(self, peer):
        return {w["name"]: w["state"] for w in peer.ask("WORKERS").header["workers"]}

    def test_the_job_runs_elsewhere_within_two_seconds_and_nothing_is_left(self):
        pool = self.pool
        pool.broker()
        workers = {name: pool.worker("-j", "1", name=name) for name in ("w1", "w2")}
        peer = pool.peer()
        job = self.tree_job(peer)
        first, pids = self.started()
        for pid in pids:
            self.assertTrue(harness.is_alive(pid))
        begin = harness.now()
        workers[first].kill()
        second, _ = self.started()
        took = harness.now() - begin
        self.assertNotEqual(second, first)
        if not harness.IS_SANITIZED:
            self.assertLess(took, 2.0, "the contract: under two seconds from kill to next start")
        for pid in pids:
            self.assertFalse(harness.is_alive(pid), f"process {pid} of the killed worker lives")
        self.gate.open_for()
        peer.wait_state(job, "succeeded")
        told = peer.job(job)
        self.assertEqual((told["attempts"], told["crashes"], told["worker"]), (2, 1, second))
        self.assertEqual([(a["attempt"], a["worker"], a["outcome"], a["reason"])
                          for a in told["history"]],
                         [(1, first, "crashed", "its connection was cut")])
        self.assertRegex(pool.stint("show", str(job)).out,
                         f"attempts +1: crashed: its connection was cut on {first},")

    def test_a_job_that_takes_its_worker_down_fails_after_three_times(self):
        pool = self.pool
        pool.broker()
        workers = {name: pool.worker("-j", "1", name=name) for name in ("w1", "w2", "w3")}
        peer = pool.peer()
        job = self.tree_job(peer)
        client = pool.spawn("wait", str(job))
        for _ in range(3):
            name, _ = self.started()
            workers.pop(name).kill()
        self.assertEqual(client.wait(), 1)
        self.assertIn(f"job {job} failed: crashed 3 times", client.err())
        told = peer.job(job)
        self.assertEqual((told["state"], told["attempts"], told["crashes"]), ("failed", 3, 3))
        self.assertRegex(told["reason"], "^crashed 3 times")
        self.assertEqual(len({a["worker"] for a in told["history"]}), 2)
        self.assertTrue(self.events.is_silent())

    def test_crash_limit_1_never_runs_again_and_run_ends_with_125(self):
        pool = self.pool
        events = pool.fifo("events")
        pool.broker()
        workers = {name: pool.worker("-j", "1", name=name) for name in ("w1", "w2")}
        client = pool.spawn("run", "--crash-limit", "1", "--", "sh", "-c",
                            f"echo $STINT_WORKER > {events.path}; exec tail -f /dev/null")
        workers[events.line()].kill()
        self.assertEqual(client.wait(), 125)
        self.assertIn("failed: crashed", client.err())
        self.assertTrue(events.is_silent())

    def test_a_stopped_worker_keeps_its_job_for_the_lease_and_no_longer(self):
        """Silence is not death: only the end of the lease gives the job away, and by then the
        processes of the silent worker are gone, though its daemon can do nothing."""
        pool = self.pool
        pool.broker("--lease", "2s", "--interval", "200ms")
        workers = {name: pool.worker("-j", "1", name=name) for name in ("w1", "w2")}
        peer = pool.peer()
        job = self.tree_job(peer)
        first, pids = self.started()
        begin = harness.now()
        workers[first].send(signal.SIGSTOP)
        second, _ = self.started()
        took = harness.now() - begin
        self.assertNotEqual(second, first)
        self.assertGreater(took, 1.5)
        self.assertLess(took, harness.bound(4))
        for pid in pids:
            self.assertFalse(harness.is_alive(pid), f"process {pid} outlived the lease")
        self.gate.open_for()
        peer.wait_state(job, "succeeded")
        self.assertEqual(self.states(peer)[first], "silent")
        workers[first].send(signal.SIGCONT)
        harness.until(lambda: self.states(peer)[first] == "active", "the worker is heard again")
        self.assertEqual(peer.job(job)["attempts"], 2)

    def test_broker_and_worker_killed_together_cost_one_lease(self):
        pool = self.pool
        broker = pool.broker("--lease", "2s", "--interval", "200ms")
        worker = pool.worker("-j", "1", name="w1")
        peer = pool.peer()
        job = self.tree_job(peer)
        _, pids = self.started()
        broker.kill()
        worker.kill()
        for pid in pids:
            harness.await_death(pid, harness.bound(2))
        pool.broker("--lease", "2s", "--interval", "200ms")
        begin = harness.now()
        pool.worker("-j", "1", name="w2")
        self.assertEqual(self.started()[0], "w2")
        self.assertLess(harness.now() - begin, harness.bound(4))
        self.gate.open_for()
        pool.peer().wait_state(job, "succeeded")

    def test_the_daemon_alone_is_enough_to_kill(self):
        """A keeper that is killed costs its own job only, and the worker goes on with the slot."""
        pool = self.pool
        pool.broker()
        worker = pool.worker("-j", "1", name="w1")
        peer = pool.peer()
        job = self.tree_job(peer)
        _, pids = self.started()
        os.kill(harness.process_table()[pids[0]][0], signal.SIGKILL)
        peer.wait_state(job, "failed")
        self.assertIn("keeper lost", peer.job(job)["reason"])
        for pid in pids:
            harness.await_death(pid, harness.bound(5))
        again, = peer.submit(argv=["true"])
        peer.wait_state(again, "succeeded")
        self.assertTrue(worker.is_running())


if __name__ == "__main__":
    harness.main()
