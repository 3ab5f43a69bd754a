"""Published figures as data: chapters say which commands give which figures, results what they gave, pages are made of both.

``python -m acceptance run CHAPTER`` measures, ``render`` writes ``docs/acceptance.md`` and ``docs/benchmarks.md``, ``check`` says
whether the pages, the results and the chapters agree.
"""
