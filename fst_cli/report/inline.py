"""matplotlib's SVG as an element of an HTML page: no prolog, no addresses, ids of its own."""

import re
from xml.etree import ElementTree as ET

from fst_cli.data.text import visible

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


def inline_svg(svg: bytes, name: str, label: str) -> str:
    """The figure as an `svg` element, described by `label`; `name` keeps its ids from those of other figures.

    Texts are outlines and are escaped again here; comments, which repeat them, and metadata are left out.
    """
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            # matplotlib's one style sheet holds for all of a page: the page has it, for its figures only.
            if child.tag in (f"{SVG}metadata", f"{SVG}style") or (child.tag == f"{SVG}defs" and _is_style(child)):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        element.attrib = {_bare(key): _renamed(_bare(key), value, name) for key, value in element.attrib.items()}
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": visible(label)}
    return ET.tostring(root, encoding="unicode")


def _is_style(defs: ET.Element) -> bool:
    return len(defs) == 1 and defs[0].tag == f"{SVG}style"


def _bare(key: str) -> str:
    return key.removeprefix(XLINK)


def _renamed(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return _REFERENCE.sub(lambda found: f"url(#{name}-{found.group(1)})", value)
