# SPDX-License-Identifier: MPL-2.0
"""Proves docs/protocol.md with nothing but python3-zmq: every kind of socket is served, garbage of
any form gets ERR or nothing and harms nobody, a thousand clients are served at once, and a SUBMIT
that is sent again is the same jobs, also across kill -9."""

import json
import os
import random
import resource
import socket

import zmq

import harness

KIB64 = 65536
MIB = 1 << 20


class Sockets(harness.SharedCase):
    def test_a_req_socket_as_it_comes(self):
        req = self.pool.peer(kind=zmq.REQ)
        for _ in range(3):
            reply = req.ask("PING")
            self.assertEqual((reply.verb, set(reply.header)), ("OK", {"version", "broker_start"}))

    def test_a_req_socket_that_correlates(self):
        req = self.pool.peer(kind=zmq.REQ, correlate=True)
        self.assertEqual([req.ask("PING").verb for _ in range(3)], ["OK"] * 3)

    def test_a_dealer_pipelines_and_tells_replies_apart_by_their_tags(self):
        peer = self.pool.peer()
        for n in range(64):
            peer.send("PING" if n % 2 else "STATUS", tag=b"request %d" % n)
        replies = {peer.receive().tag: n for n in range(64)}
        self.assertEqual(set(replies), {b"request %d" % n for n in range(64)})

    def test_two_envelopes_deep_at_most(self):
        peer = self.pool.peer()
        peer.socket.send_multipart([b"\0\0\0\1", b"", b"ST1", b"PING", b"t", b"", b""])
        frames = peer.socket.recv_multipart()
        self.assertEqual(frames[:5], [b"\0\0\0\1", b"", b"ST1", b"OK", b"t"])

    def test_hello_tells_the_bounds(self):
        header = self.peer.ask("HELLO", "", {"client": "test"}).header
        self.assertEqual(
            {key: header[key] for key in ("workers_port", "results_port", "window_requests",
                                          "window_submits", "payload_bytes_max",
                                          "request_bytes_max", "jobs_per_submit_max")},
            {"workers_port": 0, "results_port": 0, "window_requests": 64, "window_submits": 8,
             "payload_bytes_max": MIB, "request_bytes_max": 16 * MIB, "jobs_per_submit_max": 1000})
        self.assertEqual(header["control"], self.pool.address)

    def test_a_command_job_from_submit_to_result(self):
        job, = self.peer.submit(argv=["sh", "-c", "cat; echo bad >&2"], bodies=[b"\0\xff"],
                                name="by hand", env={"A": "1"}, cwd="/")
        finished = self.peer.wait_all([job], results=True)[job]
        self.assertEqual(finished["bodies"], [b"\0\xff", b"bad\n"])
        self.assertEqual((finished["state"], finished["exit_code"], finished["stdout_bytes"]),
                         ("succeeded", 0, 2))
        told = self.peer.job(job, "stderr", "payload")
        self.assertEqual(told["bodies"], [b"bad\n", b"\0\xff"], "in the order asked for")
        self.assertEqual((told["id"], told["name"], told["kind"]),
                         (str(job), "by hand", "command"))
        listed = self.peer.ask("LIST", "", {"name": "by hand", "limit": 1}).header
        self.assertEqual([j["id"] for j in listed["jobs"]], [str(job)])

    def test_wait_tells_each_finish_once_and_in_order(self):
        ids = self.peer.submit(argv=["true"], bodies=[b""] * 50)
        since, seen = 0, []
        while len(seen) < 50:
            reply = self.peer.ask("WAIT", harness.ids_text(ids), {"since": since, "limit": 7})
            if since == 0:
                self.assertEqual(reply.header["selected"], 50)
            self.assertLessEqual(len(reply.header["jobs"]), 7)
            self.assertGreater(reply.header["since"], since)
            since = reply.header["since"]
            seen += [int(job["id"]) for job in reply.header["jobs"]]
        self.assertEqual(sorted(seen), ids)
        reply = self.peer.ask("WAIT", harness.ids_text(ids), {"since": since})
        self.assertEqual(reply.header["jobs"], [], "at once: all have finished before")
        again = self.peer.ask("WAIT", harness.ids_text(ids), {"since": 0})
        self.assertEqual([int(job["id"]) for job in again.header["jobs"]], seen)

    def test_a_long_poll_is_answered_in_time_without_news(self):
        job, = self.peer.submit("unserved")
        begin = harness.now()
        reply = self.peer.ask("WAIT", str(job), {"timeout_ms": 300})
        self.assertEqual(reply.header["jobs"], [])
        self.assertGreaterEqual(harness.now() - begin, 0.29)
        self.assertEqual(self.peer.ask("WAIT", "999999").subject, "not_found")
        self.assertEqual(self.peer.ask("CANCEL", str(job)).header,
                         {"cancelled": 1, "cancelling": 0, "not_open": 0})


def request(verb=b"PING", tag=b"", subject=b"", header=b"", *bodies):
    return [b"ST1", verb, tag, subject, header, *bodies]


# What a stranger may send -> the status of the ERR, or None where there is no answer to be had.
GARBAGE = {
    "another version": ([b"ST2", b"PING", b"", b"", b""], "bad_version"),
    "another protocol": ([b"GET / HTTP/1.1"], "bad_message"),
    "only the version": ([b"ST1"], "bad_message"),
    "no subject": ([b"ST1", b"PING", b""], "bad_message"),
    "lower case": (request(b"ping"), "unknown_verb"),
    "an unknown verb": (request(b"EXPLODE"), "unknown_verb"),
    "a verb of another socket": (request(b"READY"), "unknown_verb"),
    "a very long verb": (request(b"A" * 100_000), "unknown_verb"),
    "a long request id": (request(tag=b"x" * 33), None),
    "a subject where none belongs": (request(subject=b"default"), "bad_argument"),
    "a body where none belongs": (request(b"PING", b"", b"", b"", b"x"), "bad_message"),
    "no queue": (request(b"SUBMIT", b"", b"", b"", b"x"), "bad_argument"),
    "a bad queue": (request(b"SUBMIT", b"", b"a b/c", b"", b"x"), "bad_argument"),
    "a long queue": (request(b"SUBMIT", b"", b"q" * 65, b"", b"x"), "bad_argument"),
    "no job in a submit": (request(b"SUBMIT", b"", b"q"), "bad_message"),
    "too many jobs": (request(b"SUBMIT", b"", b"q", b"", *[b""] * 1001), None),
    "too many frames": (request(b"SUBMIT", b"", b"q", b"", *[b""] * 5000), None),
    "a request above its bound": (request(b"SUBMIT", b"", b"q", b"", *[bytes(MIB)] * 17),
                                  "too_large"),
    "a payload above its bound": (request(b"SUBMIT", b"", b"q", b"", bytes(MIB + 1)), "too_large"),
    "a huge subject": (request(b"WAIT", b"", b"1," * KIB64), "too_large"),
    "a huge header": (request(b"SUBMIT", b"", b"q", b'{"name": "' + b"x" * KIB64 + b'"}', b""),
                      "too_large"),
    "a header that is no JSON": (request(b"SUBMIT", b"", b"q", b"{nonsense", b""), None),
    "a header that is a list": (request(b"SUBMIT", b"", b"q", b"[1]", b""), None),
    "a header with rubbish behind it": (request(b"SUBMIT", b"", b"q", b"{} {}", b""), None),
    "a key twice": (request(b"SUBMIT", b"", b"q", b'{"retries":1,"retries":2}', b""), None),
    "an unknown key": (request(b"SUBMIT", b"", b"q", b'{"retires": 1}', b""), "unknown_key"),
    "a text for a number": (request(b"SUBMIT", b"", b"q", b'{"retries": "1"}', b""),
                            "bad_argument"),
    "a negative number": (request(b"SUBMIT", b"", b"q", b'{"retries": -1}', b""), "bad_argument"),
    "a number above its bound": (request(b"SUBMIT", b"", b"q", b'{"priority": 10}', b""),
                                 "bad_argument"),
    "a fraction": (request(b"SUBMIT", b"", b"q", b'{"priority": 1.5}', b""), "bad_argument"),
    "an empty command": (request(b"SUBMIT", b"", b"q", b'{"argv": []}', b""), "bad_argument"),
    "a command of numbers": (request(b"SUBMIT", b"", b"q", b'{"argv": [1]}', b""), "bad_argument"),
    "a NUL in a word": (request(b"SUBMIT", b"", b"q", b'{"argv": ["a\\u0000b"]}', b""), None),
    "a relative directory": (request(b"SUBMIT", b"", b"q", b'{"argv": ["x"], "cwd": "a"}', b""),
                             "bad_argument"),
    "an environment without a command": (request(b"SUBMIT", b"", b"q", b'{"env": {"A": "1"}}',
                                                 b""), "bad_argument"),
    "base64 that is none": (request(b"SUBMIT", b"", b"q", b'{"argv": [{"base64": "???"}]}', b""),
                            None),
    "bytes that are no UTF-8": (request(b"SUBMIT", b"", b"q", b'{"name": "\xff\xfe"}', b""), None),
    "deep nesting": (request(b"SUBMIT", b"", b"q", b'{"env":' * 4000 + b"1" + b"}" * 4000, b""),
                     None),
    "no id": (request(b"GET"), "bad_argument"),
    "job zero": (request(b"GET", b"", b"0"), "bad_argument"),
    "a number beyond 64 bits": (request(b"GET", b"", b"99999999999999999999"), "bad_argument"),
    "a set that falls": (request(b"WAIT", b"", b"9,7"), "bad_argument"),
    "a range backwards": (request(b"WAIT", b"", b"9-7"), "bad_argument"),
    "ids that are words": (request(b"CANCEL", b"", b"all"), "bad_argument"),
    "an unknown state": (request(b"LIST", b"", b"", b'{"state": ["done"]}'), "bad_argument"),
    "an unknown want": (request(b"GET", b"", b"1", b'{"want": ["money"]}'), "bad_argument"),
}


class Garbage(harness.SharedCase):
    """After each insult somebody else is served as before."""

    def setUp(self):
        self.bystander = self.pool.peer()

    def tearDown(self):
        reply = self.bystander.ask("PING")
        self.assertEqual(reply.verb, "OK")
        self.assertTrue(self.broker.is_running())
        job, = self.bystander.submit(argv=["echo", "fine"])
        self.assertEqual(self.bystander.wait_all([job])[job]["state"], "succeeded")

    def test_each_kind_is_refused_by_name(self):
        peer = self.pool.peer()
        before = self.peer.ask("STATUS").header["jobs"]
        for name, (frames, status) in GARBAGE.items():
            with self.subTest(name):
                peer.socket.send_multipart(frames)
                reply = peer.receive(5)
                self.assertEqual(reply.verb, "ERR", reply)
                if status is not None:
                    self.assertEqual(reply.subject, status, reply)
                self.assertTrue(reply.header["message"])
        # the connection is as good as new
        self.assertEqual(peer.ask("PING", tag=b"still there").tag, b"still there")
        after = self.peer.ask("STATUS").header["jobs"]
        self.assertEqual(before, after, "something was stored")

    def test_envelopes_without_end_are_dropped_or_refused(self):
        peer = self.pool.peer()
        for frames in ([b"a", b"b", b"c", b"ST1", b"PING", b"", b"", b""],
                       [b""], [b""] * 10, [b"a"], [b"a", b""], [b"", b"a", b"ST1"]):
            peer.socket.send_multipart(frames)
        self.bystander.ask("PING")
        peer.close()

    def test_a_frame_above_what_the_socket_takes_costs_its_sender_the_connection(self):
        peer = self.pool.peer()
        peer.socket.send_multipart(request(b"SUBMIT", b"", b"q", b"", bytes(4 * MIB)))
        self.bystander.ask("PING")

    def test_random_bytes(self):
        seed = int(os.environ.get("STINT_SEED", "4"))
        dice = random.Random(seed)
        words = [b"ST1", b"", b"SUBMIT", b"PING", b"WAIT", b"GET", b"FOLLOW", b"LIST", b"CANCEL",
                 b"HELLO", b"STATUS", b"OK", b"DONE", b"default", b"1", b"1-99", b"7,9", b"0",
                 b"{}", b'{"since":1}', b'{"limit":0}', b'{"timeout_ms":1}', b'{"want":["stdout"]}',
                 b'{"argv":["true"]}', b"R0123456789abcdef.1"]
        peers = [self.pool.peer() for _ in range(4)]
        for turn in range(4000):
            peer = dice.choice(peers)
            frames = [dice.choice(words) if dice.random() < 0.9
                      else dice.randbytes(dice.randrange(200)) for _ in range(dice.randrange(1, 9))]
            peer.socket.send_multipart(frames)
            while peer.has_reply():
                peer.socket.recv_multipart()
            if turn % 500 == 0:
                self.assertEqual(self.bystander.ask("PING").verb, "OK", f"seed {seed}")
        for peer in peers:
            peer.close()

    def test_random_bytes_on_the_workers_side(self):
        seed = int(os.environ.get("STINT_SEED", "5"))
        dice = random.Random(seed)
        workers = self.pool.peer("workers")
        results = self.pool.peer("results", zmq.PUSH)
        control = self.pool.peer("control")
        words = [b"ST1", b"", b"READY", b"INVENTORY", b"CREDIT", b"BEAT", b"BYE", b"DONE", b"FAIL",
                 b"RELEASED", b"OUTPUT", b"RETRY", b"DISCARD", b"0123456789abcdef.1.0", b"1.1.1",
                 b"18446744073709551615", b"5", b"out", b"{}", b'{"name":"x"}', b"1.1.1\n",
                 b'{"name":"x","host":"h","pid":1,"slots":4,"kinds":["command"],"queues":["q"]}']
        for turn in range(4000):
            frames = [dice.choice(words) if dice.random() < 0.9
                      else dice.randbytes(dice.randrange(200)) for _ in range(dice.randrange(1, 8))]
            (workers if dice.random() < 0.5 else results).socket.send_multipart(frames)
            if turn % 10 == 0:
                control.socket.send_multipart(
                    [f for f in frames if f not in (b"SHUTDOWN", b"")] or [b"x"])
            while workers.has_reply():
                workers.socket.recv_multipart()
            if turn % 500 == 0:
                self.assertEqual(self.bystander.ask("PING").verb, "OK", f"seed {seed}")
        for peer in (workers, results, control):
            peer.close()

    def test_a_worker_of_an_unknown_session_is_told_to_register(self):
        peer = self.pool.peer("workers")
        reply = peer.ask("BEAT", "1", tag=b"00000000000000aa.1.1")
        self.assertEqual((reply.verb, reply.tag), ("REGISTER", b"00000000000000aa.1.1"))
        reply = peer.ask("READY", "", {"name": "x"}, tag=b"00000000000000aa.1.0")
        self.assertEqual(reply.verb, "ERR")

    def test_verdicts_of_nobody_change_nothing(self):
        job, = self.peer.submit(argv=["echo", "mine"])
        self.peer.wait_state(job, "succeeded")
        results = self.pool.peer("results", zmq.PUSH)
        told = self.peer.job(job, "stdout")
        for verb in ("DONE", "FAIL", "DISCARD", "RETRY"):
            results.send(verb, f"{job}.1.12345", bodies=[b"forged"], tag=b"00000000000000aa.1.1")
        # the results socket is read in turn with this one
        self.peer.ask("PING")
        self.peer.submit(argv=["true"])
        self.assertEqual(self.peer.job(job, "stdout"), told)


class Tcp(harness.Case):
    """The same on a network socket, where anything at all may call."""

    def test_raw_bytes_on_every_port(self):
        pool = self.pool
        port = pool.free_port()
        pool.broker(bind=[pool.address, f"tcp://127.0.0.1:{port}"])
        pool.worker("-j", "1")
        dice = random.Random(6)
        greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL" + bytes(44)
        calls = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"", b"\0" * 5000, greeting, greeting[:11],
                 greeting + b"\x04\xff\xff\xff\xff\xff\xff\xff\xff", b"\x16\x03\x01\x02\0\x01",
                 b"SSH-2.0-x\r\n"] + [dice.randbytes(dice.randrange(1, 3000)) for _ in range(30)]
        open_ones = []
        for at in range(3):
            for call in calls:
                stranger = socket.create_connection(("127.0.0.1", port + at))
                try:
                    stranger.sendall(call)
                except ConnectionError:
                    pass
                if dice.random() < 0.5:
                    stranger.close()
                else:
                    open_ones.append(stranger)
        self.assertEqual(pool.stint("--broker", f"tcp://127.0.0.1:{port}", "run", "echo",
                                    "fine").out, "fine\n")
        self.assertEqual(pool.stint("run", "echo", "fine").out, "fine\n")
        for stranger in open_ones:
            stranger.close()


class Many(harness.Case):
    def test_a_thousand_clients_at_once(self):
        """Each with a REQ socket of its own, all with a request under way at the same moment."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        need = 6000
        if hard != resource.RLIM_INFINITY and hard < need:
            self.skipTest(f"only {hard} descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
        self.pool.broker()
        self.pool.worker("-j", "2")
        context = zmq.Context()
        context.max_sockets = 2000
        poller = zmq.Poller()
        clients = {}
        for n in range(1000):
            client = context.socket(zmq.REQ)
            client.linger = 0
            client.connect(f"{self.pool.address}/clients")
            poller.register(client, zmq.POLLIN)
            clients[client] = n
        for client, n in clients.items():
            client.send_multipart(request(b"SUBMIT", b"", b"default", b"", b"from %d" % n))
        ids, payloads = {}, {}
        end = harness.now() + harness.bound(20)
        while len(payloads) < 1000:
            self.assertLess(harness.now(), end, f"only {len(payloads)} clients were served")
            for client, _ in poller.poll(1000):
                reply = harness.Reply(client.recv_multipart())
                self.assertEqual(reply.verb, "OK")
                n = clients[client]
                if n in ids:
                    payloads[n] = reply.bodies
                    continue
                ids[n] = int(reply.subject)
                client.send_multipart(request(b"GET", b"", reply.subject.encode(),
                                              b'{"want": ["payload"]}'))
        self.assertEqual(len(set(ids.values())), 1000)
        self.assertEqual(payloads, {n: [b"from %d" % n] for n in range(1000)})
        context.destroy()

    def test_a_client_that_never_reads_harms_nobody(self):
        """It asks for a megabyte again and again; its pipe is full, its replies are dropped."""
        broker = self.pool.broker()
        self.pool.worker("-j", "1")
        peer = self.pool.peer()
        big, = peer.submit("unserved", bodies=[os.urandom(MIB)])
        deaf = harness.Peer.context.socket(zmq.DEALER)
        deaf.linger = 0
        deaf.rcvhwm = 1
        deaf.connect(f"{self.pool.address}/clients")
        want = request(b"GET", b"", b"%d" % big, b'{"want": ["payload"]}')
        for _ in range(1000):
            try:
                deaf.send_multipart(want, zmq.DONTWAIT)
            except zmq.Again:
                break
        begin = harness.now()
        for _ in range(5):
            job, = peer.submit(argv=["true"])
            peer.wait_state(job, "succeeded")
        self.assertLess(harness.now() - begin, harness.bound(5))
        self.assertEqual(self.pool.stint("run", "echo", "fine").out, "fine\n")
        with open(f"/proc/{broker.pid}/status", encoding="ascii") as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        self.assertLess(peak, harness.bound(300 * 1024), "the unread replies are kept without a bound")
        deaf.close()


class Again(harness.Case):
    """A SUBMIT with a durable request id."""

    def submit(self, peer, sequence, bodies=(b"a", b"b"), queue="unserved", **options):
        return peer.ask("SUBMIT", queue, options or None, bodies,
                        b"R0123456789abcdef.%d" % sequence)

    def test_the_same_request_is_the_same_jobs_also_across_a_kill(self):
        pool = self.pool
        broker = pool.broker()
        first = self.submit(pool.peer(), 1, retries=2)
        self.assertEqual((first.verb, first.subject, first.header), ("OK", "1-2", {}))
        second = self.submit(pool.peer(), 1, retries=2)
        self.assertEqual((second.subject, second.header), ("1-2", {"existing": True}))
        broker.kill()
        pool.broker()
        third = self.submit(pool.peer(), 1, retries=2)
        self.assertEqual((third.subject, third.header), ("1-2", {"existing": True}))
        self.assertEqual(pool.peer().ask("STATUS").header["jobs"]["ready"], 2)

    def test_another_content_under_the_same_id_is_a_conflict(self):
        pool = self.pool
        broker = pool.broker()
        self.assertEqual(self.submit(pool.peer(), 1).subject, "1-2")
        others = [dict(bodies=(b"a", b"c")), dict(bodies=(b"a",)), dict(bodies=(b"a", b"b", b"c")),
                  dict(bodies=(b"ab", b"")), dict(queue="other"), dict(retries=1)]
        for turn in range(2):
            for other in others:
                reply = self.submit(pool.peer(), 1, **other)
                self.assertEqual((reply.verb, reply.subject), ("ERR", "conflict"), other)
            if turn == 0:
                broker.kill()
                pool.broker()
        self.assertEqual(pool.peer().ask("STATUS").header["jobs"]["ready"], 2)

    def test_the_last_eight_are_remembered_and_an_older_one_is_refused(self):
        pool = self.pool
        broker = pool.broker()
        peer = pool.peer()
        ids = {n: self.submit(peer, n, (b"%d" % n,)).subject for n in range(1, 11)}
        broker.kill()
        pool.broker()
        peer = pool.peer()
        for n in range(3, 11):
            reply = self.submit(peer, n, (b"%d" % n,))
            self.assertEqual((reply.subject, reply.header), (ids[n], {"existing": True}))
        for n in (1, 2):
            self.assertEqual(self.submit(peer, n, (b"%d" % n,)).subject, "conflict")
        # another instance counts for itself
        reply = peer.ask("SUBMIT", "unserved", None, [b""], b"Rffffffffffffffff.1")
        self.assertEqual((reply.verb, reply.header), ("OK", {}))

    def test_the_same_request_twice_at_once_is_one_job(self):
        self.pool.broker()
        peers = [self.pool.peer() for _ in range(8)]
        for peer in peers:
            peer.send("SUBMIT", "unserved", None, [b"x"], b"R0123456789abcdef.1")
        replies = [peer.receive() for peer in peers]
        self.assertEqual({reply.subject for reply in replies}, {"1"})
        self.assertEqual(sum(reply.header == {} for reply in replies), 1)

    def test_an_ordinary_request_id_makes_new_jobs_each_time(self):
        self.pool.broker()
        peer = self.pool.peer()
        tags = (b"", b"x", b"R1.1", b"R0123456789ABCDEF.1")
        ids = [peer.ask("SUBMIT", "unserved", None, [b""], tag).subject for tag in tags * 2]
        self.assertEqual(len(set(ids)), 8)


if __name__ == "__main__":
    harness.main()
