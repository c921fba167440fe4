"""Reads h2spec's reports in a folder; says what Weir fails, and ends with 1 where neither nginx nor Envoy fails it as well."""

import pathlib
import re
import sys
import xml.etree.ElementTree as xml

FEWEST_CASES = 100


def failed(report):
    # The bytes of frames stand in it as they came, which no XML may hold.
    text = re.sub(rb"[^\t\n\r\x20-\x7e]", b"?", report.read_bytes())
    cases = list(xml.fromstring(text).iter("testcase"))
    if len(cases) < FEWEST_CASES:
        sys.exit(f"h2spec: {report.name} holds {len(cases)} cases: the run broke off")
    # One name may stand for several cases of a section.
    return {
        (case.get("package"), case.get("classname"))
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }


folder = pathlib.Path(sys.argv[1])
alone = 0
for listener in ["http", "https"]:
    weir, nginx, envoy = (failed(folder / f"{who}-{listener}.xml") for who in ["weir", "nginx", "envoy"])
    for section, case in sorted(weir):
        peers = [name for name, failures in [("nginx", nginx), ("Envoy", envoy)] if (section, case) in failures]
        alone += not peers
        shared = f"as {' and '.join(peers)}" if peers else "ALONE"
        print(f"h2spec: {listener}: Weir fails, {shared}: {section}: {case}")
    print(f"h2spec: {listener}: Weir fails {len(weir)}, nginx {len(nginx)}, Envoy {len(envoy)}")
sys.exit(1 if alone else 0)
