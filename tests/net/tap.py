"""Runs a file of unittest tests and reports each test as a line of TAP, which Meson and scripts/summarise.py read.

    tap.py test_traffic.py [NAME...]      only tests whose name contains one of NAMEs
"""

import importlib
import pathlib
import sys
import time
import traceback
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


class TapResult(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.number = 0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def line(self, test, ok, directive=""):
        self.number += 1
        name = ".".join(test.id().split(".")[-2:]) if hasattr(test, "_testMethodName") else str(test)
        print(f"{'ok' if ok else 'not ok'} {self.number} - {name}{directive}", flush=True)
        if hasattr(self, "began"):
            print(f"# {time.monotonic() - self.began:.1f} s", flush=True)

    def broken(self, test, error):
        self.line(test, False)
        report = "".join(traceback.format_exception(*error))
        lab = getattr(test, "lab", None)
        if lab is not None:
            report += f"\n{lab.logs()}\n"
        print(f"--- {test.id()}: {error[0].__name__}: {str(error[1])[:300]}\n{report}", file=sys.stderr, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line(test, True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.broken(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self.broken(test, error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(test, True, f" # SKIP {reason}")

    def addSubTest(self, test, subtest, error):
        raise NotImplementedError("a test of a tunnel is a method of its own")


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def main():
    file = pathlib.Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(file.parent))
    module = importlib.import_module(file.stem)
    tests = [test for test in flatten(unittest.defaultTestLoader.loadTestsFromModule(module))
             if not sys.argv[2:] or any(part in test.id() for part in sys.argv[2:])]
    print(f"1..{len(tests)}", flush=True)
    import lab
    reason = lab.unable()
    result = TapResult()
    for test in tests:
        if reason:
            result.addSkip(test, reason)
            continue
        try:
            test.run(result)
        except KeyboardInterrupt as stop:
            test.doCleanups()
            sys.exit(f"interrupted {stop}")
    sys.exit(0 if result.wasSuccessful() and tests else 1)


if __name__ == "__main__":
    main()
