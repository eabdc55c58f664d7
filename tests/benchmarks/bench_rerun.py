"""A notebook run again: what its second run, with one cache folder, takes of the time of the first.

    python tests/benchmarks/bench_rerun.py [NAME ...] [--change]

Each notebook runs twice at scale smoke, in a cache folder that is empty at first. With ``--change`` the second run has
one parameter changed on which little depends, so that only what depends on it is made again. Seconds are those of the
whole run, from the start of the kernel to the page.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from workbench.runs import run

CHANGED = {
    "tour": {"label": "pitch_class"},
    "sae": {"page_megabytes": 2.0},
    "predefined_prototypes": {"factors": ["loudness", "pitch_median"]},
    "listen_to_interpret": {"explained_clips": 20},
    "pecmae": {"sampling_steps": 8},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="notebooks; all without it")
    parser.add_argument("--change", action="store_true", help="change a parameter of the second run")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(CHANGED):
        parser.error(f"{', '.join(sorted(unknown))}: the notebooks are {', '.join(CHANGED)}")
    for name in asked.names or CHANGED:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["WORKBENCH_CACHE"] = folder
            seconds = []
            for turn, parameters in enumerate(({}, CHANGED[name] if asked.change else {})):
                out = Path(folder) / f"run {turn}"
                (result,) = run(name, parameters=parameters, out=out, progress=False)
                if result.status != "ok":
                    raise SystemExit(result.problem)
                seconds.append(result.results["seconds"])
        first, second = seconds
        changed = ", ".join(f"{key}={value}" for key, value in parameters.items()) or "nothing"
        print(f"{name}, changed {changed}: {first:.0f} s, then {second:.0f} s ({first / second:.1f}x)", flush=True)


if __name__ == "__main__":
    main()
