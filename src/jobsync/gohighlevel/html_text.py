"""HTML summaries as plain text: ServiceTitan sends `summary` as HTML (its contract, gotcha 11), a card shows text."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser

LONGEST = 5000
"""Characters kept; GoHighLevel's limits are unconfirmed, so notes are cut here (its contract, section 11)."""

# Parsing is not done for ever: what lies behind this cannot matter for the first 5,000 characters of text.
_LONGEST_HTML = 200_000
_MARKUP = re.compile(r"<[A-Za-z/!?]|&[A-Za-z#]")
_BREAK = r"</?(?:br|p|div|li|tr|h[1-6]|blockquote|pre|ul|ol|table)\b[^<>]{0,500}>"
_BREAKS = re.compile(_BREAK, re.IGNORECASE)
# In lower case it is looked for in half the time.
_LOWER_BREAK = re.compile(_BREAK)
_CELLS = re.compile(r"</t[dh]\b[^<>]{0,500}>", re.IGNORECASE)
_UNSHOWN = "script,style,head,template,noscript,iframe,object"
# Looked for in the source first: a selector costs more than all the rest.
_MAY_BE_UNSHOWN = re.compile(rf"<(?:{_UNSHOWN.replace(',', '|')})", re.IGNORECASE)
# Markup that says nothing about the text but its absence, and what must not be left between it to read on without a tree.
_INLINE = re.compile(
    r"</?(?:a|b|big|em|font|i|ins|mark|s|small|span|strong|sub|sup|t[dh]|tbody|u)"
    r"""(?:\s+[a-z][a-z0-9_.:-]*(?:\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=`]+)(?=[\s/>]))?)*\s*/?>""",
    re.IGNORECASE | re.ASCII,
)
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": "\u00a0"}
_ENTITY = re.compile("|".join(_ENTITIES))
_UNREADABLE = re.compile(rf"<[A-Za-z/!?]|&(?!(?:{'|'.join(name[1:] for name in _ENTITIES)}))[A-Za-z#]")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")


def html_to_text(html: str | None, *, limit: int = LONGEST) -> str:
    """The text of an HTML fragment: tags dropped, entities decoded once, breaks and paragraphs as line ends.

    None gives "". Scripts and styles are left out, control and invisible characters dropped, runs of spaces made one;
    at most `limit` characters. Text without markup passes with its lines kept.
    """
    if not html:
        return ""
    text = html[:_LONGEST_HTML]
    if _holds(_MARKUP, text):
        text = _strip_markup(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isprintable():
        # Few characters are not: they are looked at once each, not where they stand.
        text = text.translate({ord(c): None for c in set(text) if not (c.isspace() or c.isprintable())})
        text = _LINES.sub("\n", _SPACES.sub(" ", text))
    elif "  " in text:
        # The plain space is the only one that is printable; line ends are not.
        text = _SPACES.sub(" ", text)
    return text.strip()[:limit].rstrip()


def _holds(markup: re.Pattern[str], text: str) -> bool:
    # Without either character there is nothing to search for, which costs far more.
    return ("<" in text or "&" in text) and markup.search(text) is not None


def _strip_markup(html: str) -> str:
    # Where tags break the lines, line ends of the source are spaces; else the text was typed with its lines. The breaks
    # are made in the source, not in the tree: editing a tree of ten thousand nested blocks takes seconds.
    if _LOWER_BREAK.search(html.lower()):
        html = _BREAKS.sub("\n", html.replace("\n", " "))
    if "</t" in html or "</T" in html:
        html = _CELLS.sub(" ", html)
    html = html.replace("\x00", "")
    # A NUL stands for each tag, so that what is before and behind it does not become markup together.
    text = _INLINE.sub("\x00", html)
    if not _holds(_UNREADABLE, text):
        text = _ENTITY.sub(lambda found: _ENTITIES[found[0]], text) if "&" in text else text
        return text.replace("\x00", "")
    body = LexborHTMLParser(html).body
    if body is None:
        return ""
    if _MAY_BE_UNSHOWN.search(html):
        for node in body.css(_UNSHOWN):
            node.decompose()
    return body.text()
