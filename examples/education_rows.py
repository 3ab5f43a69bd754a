"""Write the answers of SemEval 2013 task 7 (SciEntsBank, three classes) as rows that pretune reads.

    python education_rows.py semeval-3way.zip answers/

Each row has ``text`` (question and reference answer), ``text_pair`` (the student's answer), ``label`` and ``question``. Answers to one question stand in
train and in ``unseen-answers``; ``unseen-questions`` and ``unseen-domains`` have questions that train has not.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

PARTS = {
    "train": "training/3way/sciEntsBank/",
    "unseen-answers": "test/3way/sciEntsBank/test-unseen-answers/",
    "unseen-questions": "test/3way/sciEntsBank/test-unseen-questions/",
    "unseen-domains": "test/3way/sciEntsBank/test-unseen-domains/",
}


def rows_of(xml: bytes) -> list[dict[str, str]]:
    """The rows of one question's file."""
    question = ElementTree.fromstring(xml)
    asked = " ".join((question.findtext("questionText") or "").split())
    reference = " ".join((question.findtext("referenceAnswers/referenceAnswer") or "").split())
    return [
        {
            "id": answer.attrib["id"],
            "question": question.attrib["id"],
            "text": f"{asked} {reference}",
            "text_pair": " ".join((answer.text or "").split()),
            "label": answer.attrib["accuracy"],
        }
        for answer in question.iter("studentAnswer")
    ]


def main(archive: str, out: str) -> None:
    """One JSON lines file a part."""
    Path(out).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as packed:
        for part, folder in PARTS.items():
            names = sorted(name for name in packed.namelist() if name.startswith(folder) and name.endswith(".xml"))
            rows = [row for name in names for row in rows_of(packed.read(name))]
            path = Path(out) / f"{part}.jsonl"
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            print(f"{path}: {len(rows):,} answers to {len(names)} questions")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
