"""A notebook run again: what its second run, with one cache folder, takes of the time of the first.

    python tests/benchmarks/bench_rerun.py [NAME ...] [--change NAME=VALUE]

Each notebook runs twice at scale smoke, in a cache folder that is empty at first. With ``--change`` the second run has
another value of a parameter, so that what depends on it is made again. Seconds are those of the whole run, from the
start of the kernel to the page.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from workbench.runs import run

NAMES = ("tour", "sae", "predefined_prototypes", "listen_to_interpret", "pecmae")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks; all without it")
    parser.add_argument("--change", metavar="NAME=VALUE", help="a parameter of the second run")
    asked = parser.parse_args()
    changed = dict([asked.change.split("=", 1)]) if asked.change else {}
    for name in asked.names or NAMES:
        seconds = []
        with tempfile.TemporaryDirectory() as folder:
            os.environ["WORKBENCH_CACHE"] = folder
            for turn, parameters in enumerate(({}, changed)):
                out = Path(folder) / f"run {turn}"
                (result,) = run(name, parameters=parameters, text=True, out=out, progress=False)
                if result.status != "ok":
                    raise SystemExit(result.problem)
                seconds.append(result.results["seconds"])
        first, second = seconds
        told = f", changed {asked.change}" if changed else ""
        print(f"{name}{told}: {first:.0f} s, then {second:.0f} s ({first / second:.1f}x)", flush=True)


if __name__ == "__main__":
    main()
