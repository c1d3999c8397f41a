#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Turns payloads into upper case: a worker of stint in a few lines (python3-zmq).

    examples/worker.py ADDRESS QUEUE      ADDRESS: ipc://DIRECTORY or tcp://HOST:PORT

One slot. It keeps the rules that make jobs safe: it registers again on fresh sockets after every gap,
refuses what is not of its session, counts its lease from the sending of its last answered BEAT, and
keeps a verdict until the broker has acknowledged it. Its handler is quick; one that runs for longer
than a beat belongs on a thread.
"""
import json
import secrets
import socket
import sys
import time

import zmq


class Worker:
    def __init__(self, address, queue):
        self.address, self.queue = address, queue
        self.instance, self.epoch, self.outbox = secrets.token_hex(8), 0, {}

    def endpoint(self, name, port):
        if self.address.startswith("ipc"):
            return f"{self.address}/{name}"
        return f"{self.address.rsplit(':', 1)[0]}:{port}"

    def dial(self):
        """Fresh sockets, a new epoch, READY."""
        port = int(self.address.rsplit(":", 1)[1]) if self.address.startswith("tcp") else 0
        context = zmq.Context.instance()
        self.workers, self.results = context.socket(zmq.DEALER), context.socket(zmq.PUSH)
        for s, name, add in ((self.workers, "workers", 1), (self.results, "results", 2)):
            s.setsockopt(zmq.LINGER, 1000)
            s.connect(self.endpoint(name, port + add))
        self.epoch += 1
        self.session, self.granted, self.beats = f"{self.instance}.{self.epoch}.0", 0, 0
        self.sent_at, self.lease_from = {}, time.monotonic()
        self.send("READY", "", {"name": f"{socket.gethostname()}-py", "slots": 1,
                                "kinds": ["payload"], "queues": [self.queue]})

    def send(self, verb, subject="", header=None, bodies=()):
        text = json.dumps(header) if header else ""
        to = self.results if verb == "DONE" else self.workers
        to.send_multipart([b"ST1", verb.encode(), self.session.encode(), subject.encode(),
                           text.encode(), *bodies])

    def credit(self):
        self.granted += 1
        self.send("CREDIT", str(self.granted))

    def beat(self):
        self.beats += 1
        self.sent_at[self.beats] = time.monotonic()
        held = sorted(int(ref.split(".")[2]) for ref in self.outbox)
        self.send("BEAT", str(self.beats), None, [",".join(map(str, held)).encode()])

    def serve(self):
        """One registration: until the broker is silent or asks for a new one. True: to be left."""
        self.dial()
        agreed, next_beat, heard = None, 0, time.monotonic()
        while time.monotonic() < heard + (3 * agreed["interval_ms"] / 1000 if agreed else 2):
            if agreed and time.monotonic() >= next_beat:
                next_beat = time.monotonic() + agreed["interval_ms"] / 1000
                self.beat()
                for ref, body in self.outbox.items():
                    self.send("DONE", ref, None, [body])
            if not self.workers.poll(100):
                continue
            _, verb, tag, subject, header, *bodies = self.workers.recv_multipart()
            verb, tag, subject = verb.decode(), tag.decode(), subject.decode()
            if verb == "READY" and tag.rsplit(".", 1)[0] == self.session.rsplit(".", 1)[0]:
                if agreed is None:
                    agreed, self.session, heard = json.loads(header), tag, time.monotonic()
                    kept = "".join(ref + "\n" for ref in self.outbox).encode()
                    self.send("INVENTORY", "", None, [b"", kept])
                    self.credit()
            elif tag != self.session:
                if verb == "REGISTER":
                    return False
            elif verb == "BEAT":
                heard = time.monotonic()
                self.lease_from = self.sent_at.pop(int(subject), self.lease_from)
            elif verb == "JOB":
                lease = (agreed["lease_ms"] - agreed["margin_ms"]) / 1000
                if time.monotonic() < self.lease_from + lease and subject not in self.outbox:
                    self.outbox[subject] = bodies[0].upper()
                    self.send("DONE", subject, None, [self.outbox[subject]])
            elif verb == "ACK":
                for ref in bodies:
                    if self.outbox.pop(ref.decode(), None) is not None:
                        self.credit()
            elif verb == "PROBE":
                self.beat()
            elif verb == "STOP" and subject == "exit":
                self.send("BYE")
                return True
            elif verb in ("REGISTER", "STOP"):
                return False
        return False

    def run(self):
        while True:
            done = self.serve()
            self.workers.close()
            self.results.close()
            if done:
                return


if __name__ == "__main__":
    Worker(sys.argv[1], sys.argv[2]).run()
