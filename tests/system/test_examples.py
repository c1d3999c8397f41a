# SPDX-License-Identifier: MPL-2.0
"""Proves that the examples work as they stand: a worker and a client written from the protocol page
in a few lines of Python, with each other and with the real programs."""

import os
import sys

import harness

EXAMPLES = os.path.join(os.environ.get("STINT_SOURCE",
                                       os.path.join(os.path.dirname(__file__), "..", "..")),
                        "examples")
WORKER = os.path.join(EXAMPLES, "worker.py")
CLIENT = os.path.join(EXAMPLES, "client.py")

if not (os.path.exists(WORKER) and os.path.exists(CLIENT)):
    print(f"SKIPPED: there are no examples in {EXAMPLES}")
    sys.exit(77)


class Examples(harness.Case):
    def python(self, script, *words):
        return self.pool.start([sys.executable, "-B", script, *words],
                               os.path.basename(script))

    def worker_example(self, address, queue="upper"):
        """The example as one of the pool's workers; returns when the broker knows it."""
        worker = self.python(WORKER, address, queue)
        peer = self.pool.peer()
        harness.until(lambda: peer.ask("WORKERS").header["workers"], "the worker has registered")
        return worker

    def test_client_and_worker_on_a_directory(self):
        pool = self.pool
        pool.broker()
        worker = self.worker_example(pool.address)
        client = self.python(CLIENT, pool.address, "upper", "one", "two", "three")
        self.assertEqual(client.wait(), 0, client.err())
        self.assertEqual([line.split()[1:] for line in client.lines["out"]],
                         [["succeeded", "ONE"], ["succeeded", "TWO"], ["succeeded", "THREE"]])
        # it leaves with the pool
        pool.stint("shutdown")
        self.assertEqual(worker.wait(), 0, worker.err())

    def test_the_worker_over_tcp_across_a_kill_of_the_broker(self):
        pool = self.pool
        tcp = f"tcp://127.0.0.1:{pool.free_port()}"
        broker = pool.broker(bind=[pool.address, tcp])
        worker = self.worker_example(tcp)
        self.assertEqual(self.python(CLIENT, tcp, "upper", "x").wait(), 0)
        broker.kill()
        pool.broker(bind=[pool.address, tcp])
        ids = pool.stint("submit", "--queue", "upper", "--lines", input="a\nb\nc\n").lines
        pool.stint("wait", *ids)
        self.assertEqual(pool.stint("result", *ids).out, "ABC")
        pool.stint("shutdown")
        self.assertEqual(worker.wait(), 0, worker.err())

    def test_the_client_with_a_real_worker(self):
        self.pool.broker()
        self.pool.worker("-q", "rev", "-j", "1", program=["rev"])
        client = self.python(CLIENT, self.pool.address, "rev", "abc")
        self.assertEqual(client.wait(), 0, client.err())
        self.assertEqual(client.lines["out"][0].split()[1:], ["succeeded", "cba"])

    def test_the_client_reports_what_the_broker_refuses(self):
        self.pool.broker()
        client = self.python(CLIENT, self.pool.address, "a bad queue", "x")
        self.assertNotEqual(client.wait(), 0)
        self.assertIn("bad_argument", client.err())


if __name__ == "__main__":
    harness.main()
