"""``pretune push``: a run's model folder to the Hugging Face hub, with a card that says what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.errors import CheckFailed, RunError, UsageError
from pretune.files import write_text
from pretune.interface.declare import verb
from pretune.interface.outcome import Outcome, Say
from pretune.options import Settings, option
from pretune.runfolder import RunFolder, open_run
from pretune.sums import Sums
from pretune.wording import counted

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["PushSettings", "push"]

_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True, kw_only=True)
class PushSettings(Settings):
    """Settings of ``pretune push``."""

    verb: ClassVar[str] = "push"

    run: str = option(help="run folder of a finished model", positional=True, metavar="RUN")
    name: str = option(help="repository on the hub: owner/name, or name for your own", positional=True, metavar="NAME")
    license: str | None = option(
        None, "licence of the weights, as the hub writes it (apache-2.0, mit, cc-by-4.0, other)", metavar="LICENCE"
    )
    language: tuple[str, ...] = option(
        (), "language of the texts (en, zh, ...); may be given several times", metavar="CODE"
    )
    datasets: tuple[str, ...] = option(
        (),
        "hub id of the data it learned from; may be given several times; default: what was read from there",
        metavar="ID",
    )
    base_model: str | None = option(
        None, "hub id of the model it began from; default: what was loaded from there", metavar="ID"
    )
    private: bool = option(False, "make the repository private, where it is a new one")
    message: str | None = option(None, "message of the commit; default: what the run is", metavar="TEXT")
    dry_run: bool = option(False, "show what would be sent, and send nothing")


@verb(PushSettings)
def push(settings: PushSettings, *, say: Say) -> Outcome:
    """Send RUN/model to the Hugging Face hub: weights, tokenizer or processor, and a model card with its scores.

    The card names the model and the data it was made from, language and licence, and gives the scores with their intervals, also
    where the hub reads them (model-index). What is told here is kept in run.json for the next time. Files are held against
    their sums first. Who you are the hub knows by `hf auth login` or HF_TOKEN.

    Examples::

        pretune push runs/news me/news-topics --license apache-2.0 --language en --dry-run
        pretune push runs/news me/news-topics --license apache-2.0 --language en
        pretune push runs/news-onnx me/news-topics-onnx --private
    """
    from pretune.report.card import model_card

    if not _NAME.fullmatch(settings.name) or ".." in settings.name or "--" in settings.name:
        raise UsageError(
            f"NAME is {settings.name!r}, which the hub does not take", "it is owner/name: letters, digits, - _ and ."
        )
    run = open_run(settings.run)
    about = _about(settings, run)
    card = model_card({**run.record, "card": about}, run.metrics, run.passport)
    files = {**_files(run), "README.md": len(card.encode())}
    facts = {
        "run": str(run.path), "name": settings.name, "dry_run": settings.dry_run, "private": settings.private, "card": card,
        "files": [{"name": name, "bytes": size} for name, size in files.items()],
    }  # fmt: skip
    told = f"{counted(len(files), 'file')}, {sum(files.values()) / 1e6:.1f} MB"
    for lack in _lacks(about):
        say.warn(lack)
    if settings.dry_run:
        listed = "\n".join(f"  {name}  {size:,}" for name, size in files.items())
        text = f"{told} of {run.model_dir} would be sent to {settings.name}:\n{listed}\nREADME.md:\n{card.rstrip()}\nNothing was sent."
        return Outcome(text=text, facts=facts)
    run.update_record(card=about)
    write_text(run.model_dir / "README.md", card)
    url = _send(settings, run, files)
    return Outcome(text=f"{told} sent to {url}", facts={**facts, "url": url})


def _about(settings: PushSettings, run: RunFolder) -> dict[str, Any]:
    """What the card is to say that the run does not know: what was told before, and what is told now."""
    given = {
        "license": settings.license, "language": list(settings.language), "datasets": list(settings.datasets), "base_model": settings.base_model,
    }  # fmt: skip
    return {**(run.record.get("card") or {}), **{key: value for key, value in given.items() if value}}


def _lacks(about: Mapping[str, Any]) -> list[str]:
    if about.get("license"):
        return []
    return [
        "the card says license: unknown, and nobody may use a model whose licence they do not know: --license apache-2.0"
    ]


def _files(run: RunFolder) -> dict[str, int]:
    """The files to send with their sizes. Raises :class:`RunError` where no finished model is, and where one is damaged."""
    if run.record["status"] != "finished" or not run.model_dir.is_dir():
        raise RunError(f"{run.path} holds no finished model", "pretune list shows the runs that do")
    Sums(run.model_dir).check()
    found = (path for path in sorted(run.model_dir.rglob("*")) if path.is_file())
    names = {path.relative_to(run.model_dir): path.stat().st_size for path in found}
    return {
        name.as_posix(): size
        for name, size in names.items()
        if not any(part.startswith((".", "__")) for part in name.parts)
    }


def _send(settings: PushSettings, run: RunFolder, files: Mapping[str, int]) -> str:
    """Make the repository where there is none, and one commit of the files; where it is then.

    Raises :class:`UsageError` where the hub does not know who asks or does not allow it, :class:`CheckFailed` where it cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub import errors

    from pretune.hub import quiet_hub

    api: HfApi = huggingface_hub.HfApi()
    message = settings.message or f"{run.record['verb']} with pretune"
    try:
        with quiet_hub():
            place = api.create_repo(settings.name, private=settings.private or None, exist_ok=True)
            api.upload_folder(
                repo_id=place.repo_id,
                folder_path=Path(run.model_dir),
                commit_message=message,
                allow_patterns=list(files),
            )
    except errors.LocalTokenNotFoundError:
        raise UsageError("the hub does not know who you are", "hf auth login, or set HF_TOKEN") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        first = (str(error).strip().splitlines() or [""])[0]
        if status in (401, 403):
            raise UsageError(
                f"the hub does not let you write to {settings.name}: {first}",
                "hf auth login with a token that may write",
            ) from None
        raise CheckFailed(f"the hub did not take it: {first}", "run the same command again") from None
    except (OSError, errors.OfflineModeIsEnabled) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckFailed(
            f"the hub cannot be reached: {first}", "run the same command again where there is a network"
        ) from None
    return str(place)
