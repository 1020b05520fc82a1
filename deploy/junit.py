"""JUnit XML of rule tests, as CI systems read it: a suite for each file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from xml.etree import ElementTree as Xml

from onpace.deploy.rule_testing import Outcome

__all__ = ["junit_xml"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(outcomes: Iterable[Outcome]) -> str:
    """The whole report."""
    found = list(outcomes)
    top = Xml.Element("testsuites", _counts(found) | {"name": "onpace test"})
    for path, group in groupby(found, key=lambda one: str(one.suite.path)):
        part = list(group)
        suite = Xml.SubElement(top, "testsuite", _counts(part) | {"name": path, "errors": "0", "skipped": "0"})
        for one in part:
            attributes = {"classname": path, "name": _clean(one.test.name), "time": f"{one.seconds:.3f}"}
            case = Xml.SubElement(suite, "testcase", attributes)
            if one.problems:
                failure = Xml.SubElement(case, "failure", {"message": _clean(one.problems[0]), "type": "rule test"})
                failure.text = _clean("\n".join(one.problems))
    Xml.indent(top)
    return Xml.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def _counts(outcomes: list[Outcome]) -> dict[str, str]:
    return {
        "tests": str(len(outcomes)),
        "failures": str(sum(bool(one.problems) for one in outcomes)),
        "time": f"{sum(one.seconds for one in outcomes):.3f}",
    }


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("?", text)
