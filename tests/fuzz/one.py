"""One target in a process of its own: guided by coverage where atheris is installed, else by mutation alone.

It ends itself after its time and writes one line of JSON, its report. A finding is kept in regressions/<target>/ under its
hash, and the search goes on past it.
"""

import hashlib
import importlib.util
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Final

GRACE_S: Final = 120
"""What a process may take beyond its share: to start, and for its last input."""
COST_EVERY: Final = 50
FINDINGS_MAX: Final = 20
INPUT_BYTES_MAX: Final = 1 << 16
INPUT_S_MAX: Final = 20
MEMORY_MB_MAX: Final = 1024
REGRESSIONS: Final = Path(__file__).parent / "regressions"
READERS: Final = ("zb_contracts", "zb_chassis.claims", "field_ingest.admission")


@dataclass
class Report:
    """What became of one target. `way` is how its inputs were made."""

    runs: int = 0
    way: str = "by mutation"
    findings: list[str] = field(default_factory=list)


class Search:
    """One target, its time and what was found."""

    def __init__(self, name: str, seconds: int, seed: int) -> None:
        # Imported here and not above, because atheris has to see these imports.
        from tests.fuzz.mutation import mutated
        from tests.fuzz.targets import TARGETS

        self._target = TARGETS[name]
        self._mutated = mutated
        self._random = Random(f"{name}:{seed}")  # noqa: S311 - has to be found again, is no secret
        self._ends_at = time.monotonic() + seconds
        self._kinds: set[str] = set()
        self.report = Report()

    def read(self, data: bytes) -> None:
        """Judge one input; every fiftieth by its cost too. Ends the process when the time is over."""
        from tests.fuzz.judging import Finding, judge, judge_cost

        self.report.runs += 1
        try:
            if self.report.runs % COST_EVERY:
                judge(self._target, data)
            else:
                judge_cost(self._target, data)
        except Finding as finding:
            self._keep(data, finding)
        if time.monotonic() >= self._ends_at or len(self.report.findings) >= FINDINGS_MAX:
            self.end()

    def mutate(self, data: bytes, size_max: int, seed: int) -> bytes:
        """A new input for atheris: of the structure, as long as it fits."""
        changed = self._mutated(data or self.sample(), self._target.form, Random(seed))  # noqa: S311 - as above
        return changed if len(changed) <= size_max else changed[:size_max]

    def sample(self) -> bytes:
        return self._random.choice(self._target.samples)

    def samples(self) -> tuple[bytes, ...]:
        return self._target.samples

    def by_mutation(self) -> None:
        """Mutations of the samples, and of mutations, until the time is over."""
        data = self.sample()
        while True:
            data = self._mutated(data, self._target.form, self._random)
            self.read(data)
            if self._random.random() < 0.7 or len(data) > INPUT_BYTES_MAX:
                data = self.sample()

    def end(self) -> None:
        """Says what was found and ends the process: atheris' loop knows no other way out."""
        sys.stdout.write(f"\n{json.dumps(asdict(self.report))}\n")
        sys.stdout.flush()
        os._exit(0)

    def _keep(self, data: bytes, finding: Exception) -> None:
        kind = f"{type(finding.__cause__).__name__}{str(finding)[:60]}"
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        folder = REGRESSIONS / self._target.name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"found-{hashlib.sha256(data).hexdigest()[:16]}"
        path.write_bytes(data)
        self.report.findings.append(f"{path.name}: {str(finding)[:300]}")


def main(name: str, seconds: int, seed: int, corpus: Path) -> None:
    """Search until the time is over. `corpus` is an empty folder for atheris to work in."""
    if importlib.util.find_spec("atheris") is None:
        Search(name, seconds, seed).by_mutation()
    import atheris

    with atheris.instrument_imports(include=list(READERS)):
        search = Search(name, seconds, seed)
    search.report.way = "guided by coverage"
    for number, sample in enumerate(search.samples()):
        (corpus / str(number)).write_bytes(sample)
    kept = REGRESSIONS / name
    kept.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_len={INPUT_BYTES_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}", f"-timeout={INPUT_S_MAX}"]
    arguments = [name, f"-seed={seed + 1}", *limits, f"-artifact_prefix={kept}/", str(corpus)]
    atheris.Setup(arguments, search.read, custom_mutator=search.mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
