"""The HTML that pages are made of."""

from html.parser import HTMLParser

from wsiseg.report import page as html

EVIL = '<script>alert("x")</script> & "quoted"'


class Structure(HTMLParser):
    """Checks that tags nest, and remembers them."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_text_never_becomes_markup() -> None:
    text = html.page(
        EVIL,
        [
            html.section(EVIL, html.paragraph(EVIL), html.paragraph(EVIL, soft=True)),
            html.figure("data:image/png;base64,", EVIL, EVIL),
            html.legend([(EVIL, (1, 2, 3))]),
            html.table([EVIL, EVIL], [[EVIL, EVIL]], code=True, total=True),
            html.headline([(EVIL, EVIL)]),
        ],
    )
    structure = Structure(text)
    assert "script" not in structure.tags
    assert "<script" not in text


def test_a_page_needs_no_other_file() -> None:
    structure = Structure(html.page("a", [html.figure("data:image/png;base64,AA", "b", "c")]))
    assert all(link.startswith("data:") for link in structure.links)
    assert "link" not in structure.tags


def test_tables_mark_numbers_and_the_total() -> None:
    text = html.table(["class", "F1"], [["a", "0.5"], ["mean", "0.6"]], total=True)
    assert '<th class="number">F1</th>' in text
    assert '<tr class="total"><td>mean</td><td class="number">0.6</td></tr>' in text
    assert '<td>a</td><td class="number">0.5</td>' in text
