"""The search for the highest rate, against paths whose answer is known."""

import unittest

from search import highest_rate


class Search(unittest.TestCase):
    def test_finds_the_limit_within_its_precision(self):
        for limit in (90, 1_234, 77_777, 150_000, 1_900_000):
            found = highest_rate(lambda rate, limit=limit: rate <= limit, 5_000, 4e6)
            self.assertLessEqual(found, limit)
            self.assertGreaterEqual(found, limit / 1.06)

    def test_the_ceiling_bounds_it(self):
        self.assertGreater(highest_rate(lambda rate: True, 5_000, 100_000), 95_000)
        self.assertLess(highest_rate(lambda rate: True, 5_000, 100_000), 100_000)

    def test_a_path_that_carries_nothing(self):
        self.assertEqual(highest_rate(lambda rate: False, 5_000, 4e6), 0)

    def test_one_hiccup_is_forgiven_and_two_are_not(self):
        asked = []

        def carries(rate):
            asked.append(rate)
            return rate <= 100_000 and asked.count(rate) > 1  # each rate fails at first

        self.assertGreater(highest_rate(carries, 5_000, 4e6, attempts=2), 90_000)
        self.assertEqual(highest_rate(lambda rate: False, 5_000, 4e6, attempts=2), 0)
        asked.clear()
        self.assertEqual(highest_rate(carries, 5_000, 4e6, attempts=1), 0)

    def test_it_asks_no_more_than_it_must(self):
        asked = []
        highest_rate(lambda rate: asked.append(rate) or rate <= 50_000, 20_000, 4e6, attempts=1)
        self.assertLessEqual(len(asked), 8)


if __name__ == "__main__":
    unittest.main()
