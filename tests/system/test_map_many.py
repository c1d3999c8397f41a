# SPDX-License-Identifier: MPL-2.0
"""Proves that a map of ten thousand items ends: each finish is told once, none is missed, whatever
the order of submits, finishes and polls. (It hung once, with every job done.)"""

import harness

ITEMS = 2500 if harness.IS_SANITIZED else 10_000


class Many(harness.Case):
    def test_a_map_of_many_items_ends(self):
        pool = self.pool
        pool.broker()
        pool.worker("-j", "4")
        items = b"".join(b"%d\0" % n for n in range(ITEMS))
        done = pool.stint("map", "--quiet", "-0", "--", "true", "{}", input=items, seconds=60)
        self.assertEqual((done.out, done.err), ("", ""))
        jobs = pool.peer().ask("STATUS").header["jobs"]
        self.assertEqual((jobs["succeeded"], sum(jobs.values())), (ITEMS, ITEMS))
        # and somebody who comes later hears of all of them at once
        waited = pool.stint("wait", "--json", "last")
        self.assertEqual({int(job["id"]) for job in waited.json_lines()},
                         set(range(1, ITEMS + 1)))


if __name__ == "__main__":
    harness.main()
