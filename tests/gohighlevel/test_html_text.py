"""Summaries as text: breaks kept, markup gone, hostile input harmless."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobsync.gohighlevel.html_text import html_to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (None, ""),
        ("", ""),
        ("<p>A &amp; B</p><p>C<br>D<br/>E</p>", "A & B\nC\nD\nE"),
        ("typed\r\nwith lines, 5 < 6 & so on", "typed\nwith lines, 5 < 6 & so on"),
        ("typed\nwith &quot;entities&quot;", 'typed\nwith "entities"'),
        ("<p>source\nline ends</p>", "source line ends"),
        ("&lt;b&gt;once&lt;/b&gt;", "<b>once</b>"),
        ("<script>alert(1)</script>hi<style>p{}</style>", "hi"),
        ("<ul><li>one<li>two</ul>", "one\ntwo"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("&nbsp;x&nbsp;&nbsp;y ", "x y"),
        ("a\x00b\u200bc\ud800d", "abcd"),
        ("<p>a\ud800b</p>", "ab"),
        ("<p>never closed", "never closed"),
        ("<", "<"),
    ],
)
def test_markup_becomes_text(html, text):
    assert html_to_text(html) == text


def test_the_text_is_cut():
    assert len(html_to_text("x" * 9000)) == 5000
    assert html_to_text("<b>abcdef</b>", limit=3) == "abc"


@pytest.mark.parametrize(
    "piece", ["<div>", "<span>", "<p ", "<a><table>", "&amp;", "</td>", "<!--", "<a x ", "<a x=/", "  \t"]
)
def test_a_hostile_summary_does_not_hold_up_the_loop(piece):
    started = time.perf_counter()
    html_to_text(piece * (1_000_000 // len(piece)))
    assert time.perf_counter() - started < 1.0


@given(st.text())
def test_any_text_becomes_text(html):
    assert "\x00" not in html_to_text(html)


PIECES = """<b> </b> <i|a=1> <span|style="a:b"> <a|href='q'/> <td> </td> <u|a'b> &amp; &nbsp; &lt; lt; & < > / = " ' word script>"""
MARKUP = st.lists(st.sampled_from([*PIECES.replace("|", "\v").split(" "), " ", "\n", "\x00"]), max_size=14).map(
    lambda pieces: "".join(pieces).replace("\v", " ")
)


@given(MARKUP)
@example("&<b>lt;")
@example("<<b>script>hidden</script>")
@example('<b a"=" c>x">y')
def test_what_is_read_without_a_tree_reads_like_the_tree(html):
    # A comment has no text, and is never read without a tree.
    assert html_to_text(html) == html_to_text(f"<!-- -->{html}")
