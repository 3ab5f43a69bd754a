"""``python -m acceptance list | run CHAPTER ... | render | check``: published figures, from the commands to the pages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from acceptance.chapters import Chapter, ChapterError, read_chapter, read_contents
from acceptance.check import problems
from acceptance.machine import commit_here
from acceptance.places import ROOT, data_root
from acceptance.render import write_pages
from acceptance.results import result_path, write_result
from acceptance.running import measure, missing_data
from acceptance.units import duration


def main() -> int:
    """The exit code: 0 done, 1 a figure or a check failed, 2 wrong use."""
    asked = _arguments()
    try:
        return asked.do(asked)
    except ChapterError as error:
        _tell(f"error: {error}")
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m acceptance", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, do, about in (
        ("list", _list, "the chapters with their minutes, and whether their data is here"),
        ("run", _run, "run the commands of chapters, write docs/results and the pages"),
        ("render", _render, "write docs/acceptance.md and docs/benchmarks.md from what was measured"),
        ("check", _check, "do pages, results and chapters agree?"),
    ):
        verb = verbs.add_parser(name, help=about, description=about)
        verb.set_defaults(do=do)
        if do is _run:
            verb.add_argument(
                "chapters", nargs="*", metavar="CHAPTER", help="names, or all; without any they are listed"
            )
            verb.add_argument("--into", type=Path, help="folder for the runs (runs/acceptance/COMMIT): what is finished there is not run again")  # fmt: skip
            verb.add_argument(
                "--only", nargs="+", default=[], metavar="STEP", help="these steps of one chapter, and what they need; other figures stay as they are"
            )  # fmt: skip
    return parser.parse_args()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _list(asked: argparse.Namespace) -> int:
    del asked
    for part in read_contents():
        print(f"{part.title}:")
        for name in part.chapters:
            chapter = read_chapter(name)
            print(f"  {name:<24} {duration(chapter.minutes):>16}  {chapter.title}{_without(chapter)}")
    print('measure with: make accept ARGS="CHAPTER ..." (or ARGS=all)')
    return 0


def _without(chapter: Chapter) -> str:
    missing = missing_data(chapter)
    return f" (not here: {', '.join(missing)})" if missing else ""


def _run(asked: argparse.Namespace) -> int:
    every = [name for part in read_contents() for name in part.chapters]
    if not asked.chapters:
        return _list(asked)
    names = every if asked.chapters == ["all"] else asked.chapters
    chapters = [read_chapter(name) for name in names]
    if asked.only and len(chapters) > 1:
        raise ChapterError("--only names steps of one chapter")
    into = asked.into or ROOT / "runs" / "acceptance" / commit_here()
    codes = [_measure(chapter, into.absolute() / chapter.name, asked.only) for chapter in chapters]
    _render(asked)
    return max(codes)


def _measure(chapter: Chapter, into: Path, only: list[str]) -> int:
    if missing := missing_data(chapter):
        _tell(
            f"{chapter.name} is skipped: {', '.join(missing)} is not below {data_root()} (PRETUNE_DATA names another folder)"
        )
        return 0
    _tell(f"{chapter.name}: {duration(chapter.minutes)}, in {into}")
    result, failed = measure(chapter, into, _tell, only)
    write_result(chapter.name, result)
    _tell(f"{chapter.name}: {len(result['claims'])} figures in {result_path(chapter.name).relative_to(ROOT)}")
    for problem in failed:
        _tell(f"error: {problem}")
    return 1 if failed else 0


def _render(asked: argparse.Namespace) -> int:
    del asked
    for path in write_pages():
        _tell(f"wrote {path.relative_to(ROOT)}")
    return 0


def _check(asked: argparse.Namespace) -> int:
    del asked
    found = problems()
    for problem in found:
        _tell(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
