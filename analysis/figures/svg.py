"""Matplotlib's SVG in half the space and drawn alike, and its panels apart, for pages of any width."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
PANEL, LEGEND, ARMS = "panel", "legend", "arms"  # names of groups: axes, a legend, and a legend of arms
_NAMED = re.compile(rf"(arm-\d+|{PANEL}|{LEGEND}|{ARMS})")
BOX, POINTS = "data-box", "data-points"
_REFERENCE = re.compile(r"#([\w-]+)")
_DECIMAL = re.compile(r"\d+\.\d+")

ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


@dataclass(frozen=True)
class Region:
    """A panel or a legend of a drawing.

    Attributes:
        name: `PANEL`, `LEGEND` or `ARMS`.
        box: left, top, width and height with all that is written around it, in points.
        points: what is told of the panel's lines where a reader points at them, as JSON; "" for nothing.
    """

    name: str
    box: tuple[float, float, float, float]
    points: str = ""


def compact(svg: bytes, regions: Sequence[Region] = ()) -> bytes:
    """Return the SVG with coordinates to a hundredth of a point, short names, and repeated styles as classes.

    A group called `arm-3`, and one of a region, has this as its class. The name of a class follows from its style, so
    that several drawings can stand in one page.

    Args:
        svg: as Matplotlib writes it.
        regions: which `pieces` takes apart, each in the place it has among those of its name.
    """
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    _mark(root, regions)
    _rename(root)
    for element in root.iter():
        _shorten(element)
    _unwrap(root)
    _classify(root)
    _lay_out(root)
    return ElementTree.tostring(root, encoding="unicode").encode()


def _mark(root: Element, regions: Sequence[Region]) -> None:
    """Write on every group of a region where it lies."""
    for name in (PANEL, LEGEND, ARMS):
        groups = [element for element in root.iter() if element.get("id") == name]
        for group, region in zip(groups, [each for each in regions if each.name == name], strict=True):
            group.set(BOX, " ".join(f"{number:.1f}" for number in region.box))
            if region.points:
                group.set(POINTS, region.points)


def without_points(svg: str) -> str:
    """A drawing as a file of its own: without what pages tell where a reader points at a line."""
    return re.sub(rf' {POINTS}="[^"]*"', "", svg)


@dataclass(frozen=True)
class Piece:
    """A part of a drawing that stands for itself: a panel, or a legend that is none of arms."""

    name: str
    box: tuple[float, float, float, float]
    content: str


def pieces(svg: str) -> tuple[str, list[Piece]]:
    """What all parts of a compact drawing share (definitions, as SVG), and its parts; the whole where it has no panels.

    Legends of arms are left out, and what belongs to the whole: its background and its notes.
    """
    root = ElementTree.fromstring(svg)
    groups = [element for element in root.iter() if BOX in element.attrib]
    shared = [element for element in root.iter() if element.tag == f"{{{_SVG}}}defs"]
    if not any(group.get("class") == PANEL for group in groups):
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        content = "".join(_text(element) for element in root if element not in shared)
        return _defs(shared), [Piece(PANEL, (0.0, 0.0, width, height), content)]
    inside = {id(each) for group in groups for each in group.iter()}
    own = [element for element in shared if id(element) not in inside]
    found = []
    for group in groups:
        left, top, width, height = map(float, group.attrib[BOX].split())
        if group.get("class") != ARMS:
            found.append(Piece(str(group.get("class")), (left, top, width, height), _text(group)))
    return _defs(own), found


def _defs(elements: Sequence[Element]) -> str:
    return "".join(map(_text, elements))


def _text(element: Element) -> str:
    return (
        ElementTree.tostring(element, encoding="unicode")
        .replace(f' xmlns="{_SVG}"', "")
        .replace(f' xmlns:xlink="{_XLINK}"', "")
    )


def _rename(root: Element) -> None:
    """Make the names of arms classes, shorten those that something refers to, and drop the others."""
    used = {name for element in root.iter() for value in element.attrib.values() for name in _REFERENCE.findall(value)}
    names: dict[str, str] = {}
    for element in root.iter():
        name = element.attrib.pop("id", "")
        if _NAMED.fullmatch(name):
            element.set("class", name)
        elif name in used:
            element.set("id", names.setdefault(name, f"i{len(names)}"))
    for element in root.iter():
        for key, value in element.items():
            element.set(key, _REFERENCE.sub(lambda found: f"#{names.get(found[1], found[1])}", value))


def _shorten(element: Element) -> None:
    """Round coordinates, and leave out what changes nothing."""
    for key in element.attrib.keys() & {"d", "x", "y", "transform"}:
        element.set(key, _DECIMAL.sub(_rounded, element.attrib[key]))
    if "d" in element.attrib:
        element.set("d", re.sub(r"\s*([A-Za-z])\s*", r"\1", element.attrib["d"]).strip())
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if len(element) > 1 and all(child.tag == f"{{{_SVG}}}use" for child in element):
        _share_style(element)
    if "style" in element.attrib:  # fonts that others have, too
        element.set("style", element.attrib["style"].replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif"))


def _share_style(group: Element) -> None:
    """Say the style of markers in their group, where it is the same; opacity would be another thing there."""
    style, *others = {marker.get("style", "") for marker in group}
    if not others and not re.search(r"(^|\s)opacity:", style):
        group.set("style", style)
        for marker in group:
            del marker.attrib["style"]


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _unwrap(element: Element) -> None:
    """Put the content of groups that say nothing in their place."""
    for child in list(element):
        _unwrap(child)
        if child.tag == f"{{{_SVG}}}g" and not child.attrib:
            place = list(element).index(child)
            element[place : place + 1] = list(child)


def _classify(root: Element) -> None:
    """Say every style that is repeated once, as a class."""
    styled = [element for element in root.iter() if "style" in element.attrib and "class" not in element.attrib]
    counts = Counter(element.attrib["style"] for element in styled)
    classes = {
        style: f"s{hashlib.sha256(style.encode()).hexdigest()[:6]}"
        for style, count in counts.items()
        if count > 1 and "url(" not in style  # a page gives each drawing names of its own
    }
    for element in styled:
        if element.attrib["style"] in classes:
            element.set("class", classes[element.attrib.pop("style")])
    (sheet,) = root.iter(f"{{{_SVG}}}style")
    rules = [f".{name}{{{style}}}" for style, name in classes.items()]
    sheet.text = "\n".join([sheet.text or "", *rules])


def _lay_out(element: Element) -> None:
    """Put every element on a line of its own, so that versions can be compared; words stay as they are."""
    if not (element.text or "").strip():
        element.text = "\n" if len(element) else None
    if not (element.tail or "").strip():
        element.tail = "\n"
    for child in element:
        _lay_out(child)
