# SPDX-License-Identifier: MPL-2.0
"""Proves `stint map`: items from everywhere and of any bytes, the marks of GNU parallel, the same
answer as xargs, order and tags, failures and --halt, limits, Ctrl-C, a full queue, and a broker
that is killed under way."""

import os
import random
import signal
import subprocess

import harness


class Items(harness.SharedCase):
    def map(self, *words, **more):
        return self.stint("map", "--quiet", *words, **more)

    def test_items_come_from_stdin_a_file_or_the_command_line(self):
        expected = "<a b>\n<>\n<c>\n"
        command = ("-k", "--", "printf", "<%s>\\n", "{}")
        self.assertEqual(self.map(*command, input="a b\n\nc").out, expected)
        path = self.pool.path("items")
        with open(path, "w", encoding="ascii") as file:
            file.write("a b\n\nc\n")
        self.assertEqual(self.map("-a", path, *command).out, expected)
        self.assertEqual(self.map("-a", "-", *command, input="a b\n\nc\n").out, expected)
        self.assertEqual(self.map(*command, ":::", "a b", "", "c").out, expected)
        self.assertEqual(self.map("-0", *command, input="a b\0\0c\0").out, expected)
        self.map("-a", path, *command, ":::", "x", code=2)
        self.assertIn("/no/such", self.map("-a", "/no/such", *command, code=2).err)

    def test_items_are_bytes(self):
        dice = random.Random(7)
        items = [b"a\nb", b"\xff\xfe", b" lead", b"tail ", b"'\"\\$`", b"-n", b"--help", b"{}",
                 b"*", b"\r\n\t", bytes(range(1, 256)),
                 *[bytes(dice.randrange(1, 256) for _ in range(dice.randrange(1, 60)))
                   for _ in range(40)]]
        done = self.map("-0", "-k", "--", "printf", r"%s\0", "{}", input=b"\0".join(items))
        self.assertEqual(done.raw.split(b"\0")[:-1], items)

    def test_the_marks_are_those_of_parallel(self):
        items = ["/a/b.c/d.tar.gz", "plain", "a.b/c", "./x.y", "a b.txt", "/top.txt"]
        done = self.map("-k", "--", "printf", "%s|%s|%s|%s|%s|%s\\n", "{}", "{.}", "{/}", "{//}",
                        "{/.}", "{#}", ":::", *items)
        self.assertEqual(done.lines, [
            "/a/b.c/d.tar.gz|/a/b.c/d.tar|d.tar.gz|/a/b.c|d.tar|1",
            "plain|plain|plain|.|plain|2",
            "a.b/c|a.b/c|c|a.b|c|3",
            "./x.y|./x|x.y|.|x|4",
            "a b.txt|a b|a b.txt|.|a b|5",
            "/top.txt|/top|top.txt|/|top|6"])
        self.assertEqual(self.map("--", "echo", "x{}y{}", "{/}", ":::", "a/b").out,
                         "xa/bya/b b\n")
        self.assertEqual(self.map("--", "echo", "no mark", ":::", "item").out, "no mark item\n")
        self.assertEqual(self.map("-I", "@", "--", "echo", "{}", "@", "<@>", ":::", "i").out,
                         "{} i <i>\n")
        # an item that looks like a mark is not looked at again
        self.assertEqual(self.map("--", "echo", "{}", "{/}", ":::", "{/}{}").out, "{/}{} }{}\n")

    def test_the_same_answer_as_xargs(self):
        top = self.pool.path("files")
        os.mkdir(top)
        dice = random.Random(8)
        for name in (b"plain", b"with space", b"new\nline", b"\xff not utf-8", b"-rf", b"'q\"",
                     *[b"file %d" % n for n in range(120)]):
            with open(os.path.join(top.encode(), name), "wb") as file:
                file.write(dice.randbytes(dice.randrange(5000)))
        find = subprocess.run(["find", ".", "-type", "f", "-print0"], cwd=top, check=True,
                              capture_output=True).stdout
        xargs = subprocess.run(["xargs", "-0", "-n1", "sha256sum"], cwd=top, check=True,
                               input=find, capture_output=True).stdout
        command = ("map", "-0", "--", "sha256sum", "{}")
        unordered = self.stint(*command, input=find, cwd=top)
        self.assertEqual(sorted(unordered.raw.splitlines()), sorted(xargs.splitlines()))
        ordered = self.stint("map", "--keep-order", *command[1:], input=find, cwd=top)
        self.assertEqual(ordered.raw, xargs)

    def test_no_items_are_no_jobs(self):
        before = self.peer.ask("STATUS").header["jobs"]
        for words in ((), ("-0",), ("-k",), ("--tag",), ("--detach",), ("--json",)):
            done = self.stint("map", *words, "--", "echo", input="")
            self.assertEqual((done.out, done.err), ("", ""))
        done = self.stint("map", "--", "echo", ":::")
        self.assertEqual((done.out, done.err), ("", ""))
        self.assertEqual(self.peer.ask("STATUS").header["jobs"], before)

    def test_tags_and_both_outputs(self):
        done = self.map("-k", "--tag", "--", "sh", "-c", 'echo "$1" 1; echo 2; echo bad >&2', "_",
                        "{}", ":::", "a", "b c")
        self.assertEqual(done.lines, ["a\ta 1", "a\t2", "b c\tb c 1", "b c\t2"])
        self.assertEqual(sorted(done.err.splitlines()), ["a\tbad", "b c\tbad"])

    def test_outputs_come_as_jobs_finish_unless_order_is_asked_for(self):
        gate = self.pool.fifo("order-gate")
        script = f'test "$1" = slow && read x < {gate.path}; echo "$1"'
        command = ("--", "sh", "-c", script, "_", "{}", ":::", "slow", "fast")
        client = self.pool.spawn("map", "--quiet", *command)
        client.wait_line("^fast$", "out")
        gate.open_for()
        self.assertEqual((client.wait(), client.out()), (0, "fast\nslow\n"))
        client = self.pool.spawn("map", "--quiet", "-k", "--name", "ordered", *command)
        fast = harness.until(
            lambda: self.peer.ask("LIST", "", {"name": "ordered"}).header["jobs"],
            "the jobs are there")[0]
        self.peer.wait_state(fast["id"], "succeeded")
        self.assertEqual(client.out(), "")
        gate.open_for()
        self.assertEqual((client.wait(), client.out()), (0, "slow\nfast\n"))

    def test_an_item_is_worked_on_before_the_next_one_is_read(self):
        client = self.pool.spawn("map", "--quiet", "--", "echo", "got", stdin=subprocess.PIPE)
        for n in range(3):
            client.stdin.write(b"%d\n" % n)
            client.stdin.flush()
            client.wait_line(f"^got {n}$", "out")
        client.stdin.close()
        self.assertEqual(client.wait(), 0)

    def test_all_jobs_share_a_name(self):
        done = self.stint("map", "--", "true", ":::", "a", "b")
        name = done.err.split()[-1]
        self.assertEqual(done.err, f"stint: these jobs are named {name}\n")
        jobs = self.stint("list", "--json", "--name", name).json_lines()
        self.assertEqual(len(jobs), 2)
        self.assertEqual({job["argv"][0] for job in jobs}, {"true"})
        done = self.stint("map", "--name", "mine", "--", "true", ":::", "a")
        self.assertEqual(done.err, "")

    def test_detach_prints_the_ids(self):
        done = self.map("--detach", "--", "sh", "-c", 'test "$1" != b', "_", "{}", ":::", "a", "b",
                        "c")
        ids = done.lines
        self.assertEqual(len(ids), 3)
        waited = self.stint("wait", *ids, code=1)
        self.assertEqual(waited.err, f"stint: job {ids[1]} failed: exit 1\n")
        self.stint("wait", "last", code=1)
        piped = self.map("--detach", "--json", "--", "true", ":::", "a")
        self.assertEqual(list(piped.json()), ["id"])

    def test_failures_are_named_and_counted(self):
        done = self.map("--", "sh", "-c", 'exit "$1"', "_", "{}", ":::", "0", "3", "0", code=1)
        self.assertEqual(done.err, "")
        done = self.stint("map", "--name", "n", "--", "sh", "-c", 'exit "$1"', "_", "{}", ":::",
                          "0", "3", "0", code=1)
        self.assertRegex(done.err, r"^stint: job \d+ \(item 2\) failed: exit 3\n$")
        done = self.stint("map", "--name", "n", "--", "false", "{}", ":::", *"abcdefghijklmno",
                          code=1)
        self.assertEqual(len([line for line in done.err.splitlines() if "(item" in line]), 10)
        self.assertIn("15 of 15 jobs did not succeed", done.err)

    def test_cut_output_is_said_and_is_1(self):
        done = self.stint("map", "--name", "n", "--output-limit", "10", "--", "seq", ":::", "3",
                          "1000", code=1)
        self.assertIn("the output of 1 jobs was cut (--output-limit)", done.err)
        self.assertIn("1\n2\n3\n", done.out)

    def test_halt_now_cancels_the_others(self):
        gate = self.pool.fifo("halt-gate")
        script = f'test "$1" = bad && exit 1; echo up > {gate.path}; exec tail -f /dev/null'
        client = self.pool.spawn("map", "--name", "n", "--halt", "now,fail=1", "--", "sh", "-c",
                                 script, "_", "{}", stdin=subprocess.PIPE)
        client.stdin.write(b"holds\n")
        client.stdin.flush()
        self.assertEqual(gate.line(), "up")
        client.stdin.write(b"bad\n" + b"waits\n" * 50)
        client.stdin.flush()  # and never ends: the map stops reading by itself
        self.assertEqual(client.wait(), 1)
        self.assertIn("1 jobs failed; the others are cancelled (--halt)", client.err())
        self.assertNotIn("cancelled by", client.err(), "only what failed by itself is named")

    def test_halt_soon_starts_no_further_job(self):
        events, gate = self.pool.fifo("soon-events"), self.pool.fifo("soon-gate")
        script = (f'echo "$1" > {events.path}; test "$1" = bad && exit 1; '
                  f'test "$1" = 1 && read x < {gate.path}; echo "done $1"')
        client = self.pool.spawn("map", "--name", "s", "--halt", "soon,fail=1", "-j", "2", "--",
                                 "sh", "-c", script, "_", "{}", ":::", "1", "bad", "3", "4", "5")
        self.assertEqual(sorted(events.lines(2)), ["1", "bad"])
        client.wait_line("1 jobs failed; no further ones are started")
        gate.open_for()
        self.assertEqual(client.wait(), 1)
        self.assertIn("done 1\n", client.out())
        started = ["1", "bad"]
        while not events.is_silent():
            started.append(events.line())
        self.assertNotIn("5", started)

    def test_j_bounds_what_is_in_the_broker(self):
        events, gate = self.pool.fifo("j-events"), self.pool.fifo("j-gate")
        client = self.pool.spawn("map", "--quiet", "-j", "2", "--queue", "default", "--", "sh",
                                 "-c", f'echo "$1" > {events.path}; read x < {gate.path}', "_",
                                 "{}", ":::", *"abcdef")
        for _ in range(2):
            self.assertEqual(len(events.lines(2)), 2)
            jobs = self.peer.ask("STATUS").header["queues"]
            row = next(queue for queue in jobs if queue["name"] == "default")
            self.assertLessEqual(row["ready"] + row["running"], 2)
            gate.open_for(2)
        events.lines(2)
        gate.open_for(2)
        self.assertEqual(client.wait(), 0)

    def test_timeout_is_124_and_the_jobs_go_on(self):
        done = self.stint("map", "--name", "late", "--timeout", "300ms", "--queue", "unserved",
                          "--", "true", ":::", "a", "b", code=124)
        self.assertIn("2", done.err)
        states = {job["state"] for job in self.stint("list", "--json", "--name", "late")
                  .json_lines()}
        self.assertEqual(states, {"ready"})
        self.stint("cancel", "--yes", "last")

    def test_mistakes_in_the_command_are_explained(self):
        done = self.map("--", "echo {} | wc", ":::", "1", code=2)
        self.assertIn("""stint map -- sh -c '... "$1"' _ {}""", done.err)
        done = self.stint("map", "--", "sh", "-c", "echo {}", ":::", "1")
        self.assertIn("warning: {} inside the text of sh -c", done.err)
        self.map("--halt", "never", "--", "true", ":::", "1", code=2)
        self.map("-j", "0", "--", "true", ":::", "1", code=2)
        self.map("--keep", "1s", "--", "true", ":::", "1", code=2)
        self.map(":::", "1", code=2)

    def test_an_item_that_is_too_large(self):
        done = self.stint("map", "--name", "n", "--", "true", input=b"ok\n" + b"x" * (1 << 20)
                          + b"y\n", code=5)
        self.assertIn("item 2 is larger than 1048576 bytes", done.err)


class Interrupted(harness.SharedCase):
    def start(self, name):
        """A map with one job that runs and a stdin that stays open."""
        events, gate = self.pool.fifo(name + "-events"), self.pool.fifo(name + "-gate")
        client = self.pool.spawn("map", "--", "sh", "-c",
                                 f"echo $STINT_JOB_ID > {events.path}; read x < {gate.path}", "_",
                                 stdin=subprocess.PIPE)
        client.stdin.write(b"item\n")
        client.stdin.flush()
        # the job may run before the client has read that it is stored
        self.name = client.wait_line("these jobs are named").split()[-1]
        return client, gate, events.line()

    def test_ctrl_c_leaves_the_jobs_and_says_how_to_come_back(self):
        client, gate, job = self.start("once")
        client.send(signal.SIGINT)
        line = client.wait_line("go on")
        self.assertIn(f"1 jobs go on; see them with: stint list --name {self.name}", line)
        self.assertIn("stint wait last", line)
        self.assertIn("Ctrl-C again: cancel them", line)
        self.assertEqual(client.wait(), 130)
        self.assertEqual(self.peer.job(job)["state"], "running")
        gate.open_for()
        self.stint("wait", "last")

    def test_ctrl_c_twice_cancels_its_own_jobs(self):
        other, = self.peer.submit("unserved")
        client, _, job = self.start("twice")
        client.send(signal.SIGINT)
        client.wait_line("go on")
        client.send(signal.SIGINT)
        self.assertEqual(client.wait(), 130)
        self.assertIn("1 jobs are cancelled", client.err())
        self.peer.wait_state(job, "cancelled")
        self.assertEqual(self.peer.job(other)["state"], "ready")

    def test_term_detaches(self):
        client, gate, job = self.start("term")
        client.send(signal.SIGTERM)
        self.assertEqual(client.wait(), 143)
        self.assertIn("1 jobs go on", client.err())
        gate.open_for()
        self.peer.wait_state(job, "succeeded")


class Trouble(harness.Case):
    def test_a_full_queue_is_waited_for(self):
        self.pool.broker("--queue-jobs", "10")
        self.pool.worker("-j", "2")
        items = "".join(f"{n}\n" for n in range(35))
        done = self.pool.stint("map", "--name", "n", "-k", "-j", "8", "--", "echo", input=items)
        self.assertEqual((done.out, done.err), (items, ""))
        peer = self.pool.peer()
        peer.submit("other", bodies=[b""] * 10)
        refused = self.pool.stint("submit", "--queue", "other", "--data", "x", code=5)
        self.assertIn("queue", refused.err)
        self.assertEqual(peer.ask("SUBMIT", "other", None, [b""]).subject, "queue_full")
        self.assertEqual(peer.ask("SUBMIT", "fresh", None, [b""] * 11).subject, "queue_full")
        self.assertEqual(peer.ask("LIST", "", {"queue": "fresh"}).subject, "not_found",
                         "nothing is half-stored")
        client = self.pool.spawn("map", "--name", "m", "--queue", "other", "--detach", "--",
                                 "true", ":::", "a")
        client.wait_line("; waiting")
        self.pool.stint("cancel", "1-50", "--yes")
        self.assertEqual(client.wait(), 0)

    def test_a_broker_that_is_killed_under_way_costs_no_output_and_doubles_none(self):
        pool = self.pool
        events = pool.fifo("events")
        dice = random.Random(int(os.environ.get("STINT_SEED", "9")))
        broker = pool.broker()
        worker = pool.worker("-j", "2")
        items = [f"item {n}" for n in range(400)]
        script = f'case "$1" in *50) echo "$1" > {events.path};; esac; echo "out $1"'
        client = pool.spawn("map", "--quiet", "-k", "--", "sh", "-c", script, "_", "{}",
                            stdin=subprocess.PIPE)
        harness.feed(client, "\n".join(items).encode())
        for _ in range(dice.choice((2, 3))):
            events.line()  # some work has been done since the last kill
            mark = worker.mark()
            broker.kill()
            broker = pool.broker()
            worker.wait_line("registered", after=mark)
        self.assertEqual(client.wait(), 0, client.err())
        self.assertEqual(client.out().splitlines(), [f"out {item}" for item in items])


if __name__ == "__main__":
    harness.main()
