#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Submits payload jobs and prints their results: a client of stint in a few lines (python3-zmq).

    examples/client.py ADDRESS QUEUE PAYLOAD...     ADDRESS: ipc://DIRECTORY or tcp://HOST:PORT
"""
import json
import sys

import zmq


class Client:
    def __init__(self, address):
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.REQ_RELAXED, 1)
        self.socket.setsockopt(zmq.REQ_CORRELATE, 1)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address + "/clients" if address.startswith("ipc") else address)

    def call(self, verb, subject="", header=None, bodies=()):
        """One request, one reply: (subject, header, bodies)."""
        text = json.dumps(header) if header else ""
        self.socket.send_multipart([b"ST1", verb.encode(), b"", subject.encode(), text.encode(),
                                    *bodies])
        if not self.socket.poll(15000):
            raise TimeoutError("no answer from the broker")
        _, answer, _, subject, header, *bodies = self.socket.recv_multipart()
        header = json.loads(header or b"{}")
        if answer != b"OK":
            raise RuntimeError(f"{subject.decode()}: {header['message']}")
        return subject.decode(), header, bodies


def main():
    address, queue, *payloads = sys.argv[1:]
    client = Client(address)
    ids, _, _ = client.call("SUBMIT", queue, None, [p.encode() for p in payloads])
    since, left = 0, len(payloads)
    while left > 0:
        _, header, bodies = client.call("WAIT", ids, {"since": since, "results": True})
        since = header["since"]
        for job, output in zip(header["jobs"], bodies[::2]):
            print(job["id"], job["state"], output.decode())
            left -= 1


if __name__ == "__main__":
    main()
