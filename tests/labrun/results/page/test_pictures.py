"""Drawings inside a page, and PNG files."""

import base64
import re
from xml.etree import ElementTree

from labrun.results.arms import arms
from labrun.results.compare import table
from labrun.results.figures import curves, dots
from labrun.results.page import pictures
from labrun.results.page.vector import inline


def curve(make_run, event, **rest):
    runs = [
        make_run(*(event.metrics(step, loss=float(step)) for step in (1, 2)), method=m, **rest)
        for m in ("a", "b")
    ]
    return curves.draw(arms(runs), ["loss"], width="column", says=False)


def test_a_drawing_has_the_pages_colours_and_no_address(make_run, event):
    svg = str(pictures.drawn(curve(make_run, event), title="loss", name="curve0").svg)
    root = ElementTree.fromstring(svg)
    assert "http" not in svg
    assert root.attrib["class"] == "figure"
    assert "width" not in root.attrib
    assert not {"metadata", "style"} & {element.tag for element in root.iter()}
    assert "var(--arm-0)" in svg
    assert "var(--arm-1)" in svg
    assert set(re.findall(r"#[0-9a-f]{6}", svg)) == set()


def test_ids_of_two_drawings_differ_and_all_references_hold(make_run, event):
    figure = curve(make_run, event)
    ids = []
    for name in ("first", "second"):
        svg = str(pictures.drawn(figure, title="loss", name=name).svg)
        own = {e.attrib["id"] for e in ElementTree.fromstring(svg).iter() if "id" in e.attrib}
        used = {*re.findall(r"url\(#([^)]*)\)", svg), *re.findall(r'href="#([^"]*)"', svg)}
        assert used == own != set()
        ids.append(own)
    assert ids[0].isdisjoint(ids[1])


def test_a_large_drawing_is_a_png(make_run, event, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_SVG_BYTES", 100)
    picture = pictures.drawn(curve(make_run, event), title="loss", name="c")
    assert picture.svg is None
    assert base64.b64decode(picture.png).startswith(pictures.SIGNATURE)


def test_text_that_xml_cannot_hold_is_drawn_as_a_png(make_run, event):
    run = make_run(*(event.metrics(step, **{"a\x01b": 1.0}) for step in (1, 2)))
    figure = curves.draw(arms([run]), ["a\x01b"], width="column")
    assert pictures.drawn(figure, title="x", name="c").svg is None


def test_only_png_files_within_the_bound_are_read(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"<svg onload=alert(1)>")
    assert pictures.read(path, title="x") is None
    header = pictures.SIGNATURE + b"\0\0\0\rIHDR" + (300).to_bytes(4) + (100).to_bytes(4)
    path.write_bytes(header)
    assert pictures.read(path, title="x") is None
    path.write_bytes(header + pictures.END)
    found = pictures.read(path, title="x")
    assert base64.b64decode(found.png) == header + pictures.END
    assert found.is_wide
    monkeypatch.setattr(pictures, "MOST_PNG_BYTES", 10)
    assert pictures.read(path, title="x") is None


def test_labels_with_marks_are_escaped_in_a_drawing():
    svg = "<svg xmlns='http://www.w3.org/2000/svg'><text>&lt;/svg&gt;&lt;script&gt;</text></svg>"
    assert "<text>&lt;/svg&gt;&lt;script&gt;</text>" in inline(svg, name="n", says="x")


def test_points_of_a_task_stand_at_the_means_with_their_intervals(make_run, event):
    runs = [
        make_run(event.score(0, 0.1), event.score(3, end), method=m, seed=seed)
        for m, ends in {"a": (0.2, 0.4), "b": (0.5, 0.7)}.items()
        for seed, end in enumerate(ends)
    ]
    axis = dots.draw(table(arms(runs)), "accuracy").axes[0]
    lines = [tuple(round(float(x), 3) for x in line.get_xdata()) for line in axis.lines]
    # 12.7062 * 0.1 on both sides
    assert lines == [(0.1,), (-0.971, 1.571), (0.3,), (-0.671, 1.871), (0.6,)]
    heights = [float(line.get_ydata()[0]) for line in axis.lines]
    assert heights == [0, 1, 1, 2, 2]  # the score before training, a, b
    assert axis.get_legend_handles_labels()[1] == ["start", "a", "b"]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["test"]
    assert dots.draw(table(arms(runs)), "length") is None
