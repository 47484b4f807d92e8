"""Compact SVGs: the same drawing, said once."""

import re

from analysis.figures.svg import compact

# What matplotlib writes: two markers of one look, three lines of which two look alike, a text that is not turned.
DRAWING = b"""<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"
  "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="20pt" xmlns="http://www.w3.org/2000/svg" version="1.1">
 <metadata><creator>matplotlib</creator></metadata>
 <defs>
  <style type="text/css">*{stroke-linejoin: round}</style>
 </defs>
 <g id="figure_1">
  <g id="arm-3">
   <defs><path id="m0123abc" d="M 0 1.500000
C 0.265163 1.5 0.5 1.397 0.7 1.25
z
" style="stroke: #111111"/></defs>
   <g clip-path="url(#p4567def)">
    <use xlink:href="#m0123abc" x="1.234567" y="10.000000" style="fill: #111111; fill-opacity: 0.5"/>
    <use xlink:href="#m0123abc" x="2.5" y="7" style="fill: #111111; fill-opacity: 0.5"/>
   </g>
  </g>
  <g id="line_1"><path d="M 1.006 2 L 3.14159 -4.0049" style="fill: none; stroke: #222222"/></g>
  <g id="line_2"><path d="M 1 2 L 3 4" style="fill: none; stroke: #222222"/></g>
  <g id="line_3"><path d="M 1 2 L 3 4" style="fill: none; stroke: #333333"/></g>
  <text style="font-family: 'DejaVu Sans'" transform="rotate(-0 5.123 6.456)">n = 0.123456
  and &lt;more&gt;</text>
  <text>
   <tspan x="1.499999">10</tspan>
   <tspan x="2">2</tspan>
  </text>
 </g>
 <defs><clipPath id="p4567def"><rect x="0" y="0" width="20" height="9.876543"/></clipPath></defs>
</svg>
"""
COMPACT = """\
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="20pt" version="1.1">
<defs>
<style type="text/css">*{stroke-linejoin: round}
.LINE{fill: none; stroke: #222222}</style>
</defs>
<g class="arm-3">
<defs>
<path d="M0 1.5C0.27 1.5 0.5 1.4 0.7 1.25z" style="stroke: #111111" id="i0" />
</defs>
<g clip-path="url(#i1)" style="fill: #111111; fill-opacity: 0.5">
<use xlink:href="#i0" x="1.23" y="10" />
<use xlink:href="#i0" x="2.5" y="7" />
</g>
</g>
<path d="M1.01 2L3.14 -4" class="LINE" />
<path d="M1 2L3 4" class="LINE" />
<path d="M1 2L3 4" style="fill: none; stroke: #333333" />
<text style="font-family: 'DejaVu Sans', Verdana, sans-serif">n = 0.123456
  and &lt;more&gt;</text>
<text>
<tspan x="1.5">10</tspan>
<tspan x="2">2</tspan>
</text>
<defs>
<clipPath id="i1">
<rect x="0" y="0" width="20" height="9.876543" />
</clipPath>
</defs>
</svg>
"""


def test_what_is_said_often_is_said_once_and_words_stay_as_they_are():
    found = compact(DRAWING).decode()
    (name,) = set(re.findall(r'class="(s\w+)"', found))
    assert found == COMPACT.replace("LINE", name)


def test_names_do_not_depend_on_digits_that_are_rounded_away():
    """Matplotlib's names are digests of coordinates, of which the last digit differs between machines."""
    other = DRAWING.replace(b"0123abc", b"89abcde").replace(b"p4567def", b"p0000000").replace(b"1.234567", b"1.234568")
    assert compact(other) == compact(DRAWING)


def test_a_style_has_the_same_name_in_every_drawing():
    """So several drawings can stand in one page, whose classes they share."""
    more = DRAWING.replace(b"#333333", b"#111133").replace(
        b'<g id="line_2">', b"<g>" + 2 * b'<path style="fill: red"/>'
    )
    (name,) = re.findall(r"\.(s\w+){fill: none", compact(DRAWING).decode())
    assert re.findall(r"\.(s\w+){fill: none", compact(more).decode()) == [name]
    assert f".{name}{{fill: none; stroke: #222222}}" in compact(more).decode()


def test_opacity_stays_with_each_marker():
    """Of a group it would be another thing: markers that overlap would no longer be darker there."""
    translucent = DRAWING.replace(b"fill-opacity: 0.5", b"opacity: 0.5")
    assert b'<g clip-path="url(#i1)">\n<use' in compact(translucent)
