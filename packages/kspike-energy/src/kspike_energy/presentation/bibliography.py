"""BibTeX entries for the sources of energy figures."""

import re
from collections.abc import Iterable
from itertools import chain, count

from kspike_energy.presentation.tables import latex_text

__all__ = ["bibtex_entries"]

# By a string that occurs in citations of the source.
_ENTRIES = {
    "Degnan": """@article{degnan2016,
  author = {Degnan, Brian and Marr, Bo and Hasler, Jennifer},
  title = {Assessing Trends in Performance per Watt for Signal Processing Applications},
  journal = {IEEE Transactions on Very Large Scale Integration (VLSI) Systems},
  volume = {24}, number = {1}, pages = {58--66}, year = {2016}
}""",
    "Davies": """@article{davies2018,
  author = {Davies, Mike and others},
  title = {Loihi: A Neuromorphic Manycore Processor with On-Chip Learning},
  journal = {IEEE Micro}, volume = {38}, number = {1}, pages = {82--99}, year = {2018}
}""",
    "Höppner": """@article{hoeppner2019,
  author = {H{\\"o}ppner, Sebastian and others},
  title = {Dynamic Power Management for Neuromorphic Many-Core Systems},
  journal = {IEEE Transactions on Circuits and Systems I: Regular Papers},
  volume = {66}, number = {8}, pages = {2973--2986}, year = {2019}, eprint = {1903.08941},
  archiveprefix = {arXiv}
}""",
    "Horowitz": """@inproceedings{horowitz2014,
  author = {Horowitz, Mark},
  title = {Computing's Energy Problem (and What We Can Do About It)},
  booktitle = {IEEE International Solid-State Circuits Conference (ISSCC)},
  pages = {10--14}, year = {2014}
}""",
    "Lemaire": """@inproceedings{lemaire2022,
  author = {Lemaire, Edgar and Cordone, Lo{\\"i}c and Castagnetti, Andrea and Novac, Pierre-Emmanuel
    and Courtois, Jonathan and Miramond, Beno{\\^i}t},
  title = {An Analytical Estimation of Spiking Neural Networks Energy Efficiency},
  booktitle = {Neural Information Processing (ICONIP 2022)}, pages = {574--587}, year = {2023},
  doi = {10.1007/978-3-031-30105-6_48}, eprint = {2210.13107}, archiveprefix = {arXiv}
}""",
    "qualia-plugin-snn": """@misc{novac2023,
  author = {Novac, Pierre-Emmanuel}, title = {Qualia-Plugin-SNN}, year = {2023},
  howpublished = {LEAT, Universit{\\'e} C{\\^o}te d'Azur},
  url = {https://github.com/LEAT-EDGE/qualia-plugin-snn}
}""",
    "SpikingJelly": """@article{fang2023,
  author = {Fang, Wei and others},
  title = {{SpikingJelly}: An Open-Source Machine Learning Infrastructure Platform for Spike-Based
    Intelligence},
  journal = {Science Advances}, volume = {9}, number = {40}, pages = {eadi1480}, year = {2023},
  doi = {10.1126/sciadv.adi1480}
}""",
    "2409.08290": """@misc{yan2024,
  author = {Yan, Zhanglu and Bai, Zhenyu and Tang, Kaiwen and Wong, Weng-Fai},
  title = {Reconsidering the Energy Efficiency of Spiking Neural Networks Inference from Analytical
    Perspectives},
  year = {2024}, eprint = {2409.08290}, archiveprefix = {arXiv}
}""",
    "Tang et al.": """@article{tang2023,
  author = {Tang, Guangzhi and others},
  title = {{SENECA}: Building a Fully Digital Neuromorphic Processor, Design Trade-offs and
    Challenges},
  journal = {Frontiers in Neuroscience}, volume = {17}, year = {2023}
}""",
    "Blouw": """@inproceedings{blouw2019,
  author = {Blouw, Peter and Choo, Xuan and Hunsberger, Eric and Eliasmith, Chris},
  title = {Benchmarking Keyword Spotting Efficiency on Neuromorphic Hardware},
  booktitle = {Neuro-Inspired Computational Elements Workshop (NICE)}, year = {2019},
  eprint = {1812.01739}, archiveprefix = {arXiv}
}""",
    "MLPerf Tiny v0.7": """@misc{mlperftiny2022,
  author = {{MLCommons}}, title = {{MLPerf} Tiny v0.7 Results, Closed Division, Energy Mode},
  year = {2022}
}""",
    "MLPerf Tiny v1.1": """@misc{mlperftiny2023,
  author = {{MLCommons}}, title = {{MLPerf} Tiny v1.1 Results, Closed Division, Energy Mode},
  year = {2023}
}""",
}


def bibtex_entries(sources: Iterable[str]) -> str:
    """Return BibTeX entries for distinct citations; unknown ones become notes.

    Parameters
    ----------
    sources : iterable of str
        Citations, as in ``Device.source``.
    """
    found: dict[str, str] = {}
    keys: set[str] = set()
    for source in sources:
        known = [key for key in _ENTRIES if key in source]
        for key in known:
            found[key] = _ENTRIES[key]
        if source and not known and source not in found:
            key = _new_key(source, keys)
            keys.add(key)
            found[source] = f"@misc{{{key},\n  note = {{{latex_text(source)}}}\n}}"
    return "\n\n".join(found.values())


def _new_key(source: str, taken: set[str]) -> str:
    """Return a unique key for a source, numbered if another one starts with the same text."""
    start = re.sub(r"\W+", "", source)[:20].lower() or "source"
    keys = chain([start], (f"{start}-{number}" for number in count(2)))
    return next(key for key in keys if key not in taken)
