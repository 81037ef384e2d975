"""gateway.markdown: what Markdown looks like in a chat, and how it is cut."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.markdown import Kind, Run, Style, clean, is_blank, outline, plain, render, spans, split, utf16
from gateway.markdown.table import format_table, width

MARKUP = [
    *("*", "**", "***", "_", "__", "~~", "`", "``", "```", "````py\n", "~~~\n", "\n", "\n\n", " ", "  ", "    ", "\t"),
    *("# ", "## ", "> ", ">> ", "- ", "* ", "1. ", "7) ", "- [x] ", "- [ ] ", "---\n", "| a | b |\n|:-|-:|\n", "|"),
    *("[", "]", "](", ")", "![", "[a](https://e.com/b_c)", "[1]: https://e.com\n", "[1]", "<", ">", "<https://e.org>"),
    *("https://e.com/a_b?x=1&y=2", "\\", "\\(", "\\)", "$", "$$", "&amp;", "&", "<!channel>", "<@U012AB3CD>", "@here"),
    *(
        "word",
        "a",
        "b c",
        "x.y",
        "。",
        "「重要」",
        "です",
        "مرحبا",
        "👩‍👩‍👧‍👦",
        "🇯🇵",
        "😀",
        "e\u0301",
        "\u200b",
        "\x00",
        "\ud83d",
    ),
]
documents = st.one_of(
    st.lists(st.sampled_from(MARKUP), max_size=60).map("".join),
    st.text(max_size=200),
)


def shown(markdown: str) -> str:
    return plain(render(markdown))


def styled(markdown: str, kind: Kind) -> list[str]:
    runs = render(markdown)
    return [plain(runs)[start:end] for start, end, style in spans(runs) if style.kind is kind]


def solid(text: str) -> str:
    """What can be seen of the text: what a cut must not change."""
    return "".join(char for char in text if not is_blank(char))


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("# Title\ntext", "Title\ntext"),
        ("one\n\n\n\ntwo", "one\n\ntwo"),
        ("line\nbreak", "line\nbreak"),
        ("- a\n- b\n  - c\n    1. d\n", "• a\n• b\n   • c\n      1. d"),
        ("3) x\n4) y", "3) x\n4) y"),
        ("- a\n\n  more\n- b", "• a\n\n   more\n• b"),
        ("- [x] done\n- [ ] todo\n1. [ ] third", "☑ done\n☐ todo\n1. ☐ third"),
        ("- - deep", "•\n   • deep"),
        ("> a\n> > b\n\nc", "a\nb\n\nc"),
        ("text\n---\nmore", "text\n────────────\nmore"),
        ("<b>x</b> & a<br>b &lt;", "<b>x</b> & a<br>b <"),
        (r"\(a_1^2\) and $x_i * y_i$ but $5 *and* 6$", r"\(a_1^2\) and $x_i * y_i$ but $5 and 6$"),
        (r"\[x\](https://e.com)", "[x](https://e.com)"),
        ("__init__.py, a.__class__, __call__(x), __bold__.", "__init__.py, a.__class__, __call__(x), bold."),
        ("![](https://e.com/i.png)", "https://e.com/i.png"),
        ("[a][1] b\n\n[1]: https://e.com\n[2]: https://e.org", "a b\n[2]: https://e.org"),
        ("a\n```\n \n```\nb", "a\nb"),
        ("#", "#"),
        (">", ">"),
        ("```", "```"),
        ("\ud800x\x00\r\ny", "\ufffdx\ny"),
        (" \n\u200b", ""),
    ],
)
def test_text_looks_like_this(markdown: str, expected: str) -> None:
    assert shown(markdown) == expected


@pytest.mark.parametrize(
    ("markdown", "kind", "expected"),
    [
        ("# A *b* `c` d", Kind.BOLD, ["A b ", " d"]),
        ("これは**「重要」**です。**注意:**必ず", Kind.BOLD, ["「重要」", "注意:"]),
        ("これは~~(古い)~~です", Kind.STRIKE, ["(古い)"]),
        ("a **b**", Kind.BOLD, ["b"]),
        ("2 * 3 * 4, a_b_c", Kind.ITALIC, []),
        ("[`f()`](https://e.com)", Kind.LINK, ["f()"]),
        ("[`f()`](https://e.com)", Kind.CODE, []),
        ("[x](javascript:alert) [y](tg://user?id=1) [z](/rel) [w](data:text/html,x)", Kind.LINK, []),
        ("[x](tg://resolve?domain=a) [y](mailto:a@e.com) [z](HTTPS://e.com)", Kind.LINK, ["x", "y", "z"]),
        ("see https://e.com/_a_/b* **https://e.org/**.", Kind.LINK, ["https://e.com/_a_/b", "https://e.org/"]),
        ("http\\://e.com http*s*://e.com", Kind.LINK, []),
        ("[![i](https://e.com/i)](https://e.org)", Kind.LINK, ["i"]),
        ("> a\n> b\n\n> c", Kind.QUOTE, ["a\nb", "c"]),
        ("> > > a\n> b", Kind.QUOTE, ["a\nb"]),
        ("- x\n  ```py\n  code\n  ```\n  y", Kind.PRE, ["code"]),
    ],
)
def test_styles(markdown: str, kind: Kind, expected: list[str]) -> None:
    assert styled(markdown, kind) == expected


def test_a_code_block_keeps_its_language_and_every_blank() -> None:
    (run,) = render("```python title=x\n  a\n\n\tb  \n```")
    assert run == Run("  a\n\n\tb  ", frozenset({Style(Kind.PRE, "python")}))


def test_table_columns_line_up_and_their_links_follow() -> None:
    runs = render("| N | Qty |\n|:--|--:|\n| 李雷 | 12 |\n| [a](https://e.com) |\n")
    assert plain(runs) == "N    | Qty\n-----+----\n李雷 |  12\na\na"
    assert runs[-1] == Run("a", frozenset({Style(Kind.LINK, "https://e.com")}))


def test_one_endless_cell_does_not_widen_every_row() -> None:
    assert len(format_table([["a", "b"], ["x" * 5000, "y"], ["z", "y"]], ["left", "left"])) < 5300


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("李", 2), ("e\u0301", 1), ("👩‍👩‍👧‍👦", 2), ("⚠\ufe0f", 2)])
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


def test_utf16_counts_units() -> None:
    assert [utf16(text) for text in ("", "aé中", "😀", "👩‍👩‍👧‍👦")] == [0, 3, 2, 11]


def test_spans_nest_even_where_styles_overlap() -> None:
    bold, italic = Style(Kind.BOLD), Style(Kind.ITALIC)
    runs = [Run("a", frozenset({bold})), Run("b", frozenset({bold, italic})), Run("c", frozenset({italic}))]
    assert spans(runs) == [(0, 2, bold), (1, 2, italic), (2, 3, italic)]


def test_what_is_nested_too_deeply_is_kept_as_text() -> None:
    assert shown(">" * 10_000 + " deep").endswith("deep")
    assert "item 99" in shown("\n".join("  " * depth + f"- item {depth}" for depth in range(100)))


def test_a_parser_that_gives_up_costs_only_the_styles() -> None:
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    limit = sys.getrecursionlimit()
    text = "> " * 19 + "**kept** text"
    assert styled(text, Kind.BOLD) == ["kept"]
    sys.setrecursionlimit(depth + 38)
    try:
        runs, blocks = render(text), outline(text)
    finally:
        sys.setrecursionlimit(limit)
    assert runs == [Run(text)]
    assert blocks == []


NASTY: list[Callable[[int], str]] = [
    lambda n: "**a " * (n // 4),
    lambda n: "[" * n,
    lambda n: "![" * (n // 2),
    lambda n: "[a][" * (n // 4),
    lambda n: ">" * n,
    lambda n: "> " * (n // 2),
    lambda n: "- " * (n // 2),
    lambda n: "`a``b" * (n // 5),
    lambda n: "__a" * (n // 3),
    lambda n: "http://" * (n // 7),
    lambda n: "$x_" * (n // 3),
    lambda n: "\\(" * (n // 2),
    lambda n: "<" * n,
    lambda n: "|a|b|\n|-|-|\n" * (n // 12),
    lambda n: "|a" * 30 + "|\n" + "|-" * 30 + "|\n" + "|\n" * (n // 30),
    lambda n: "👩‍👩‍👧‍👦" * (n // 7),
    lambda n: "a" + "\u0301" * n,
]


@pytest.mark.parametrize("nasty", range(len(NASTY)))
def test_nasty_text_takes_time_in_proportion(nasty: int) -> None:
    """Ten times the text would take a hundred times as long if each mark looked through all the others."""

    def seconds(length: int) -> float:
        text = NASTY[nasty](length)
        gc.disable()  # its pauses grow with what other tests left behind
        started = time.process_time()
        split(render(text), 4096)
        spent = time.process_time() - started
        gc.enable()
        return spent

    large = seconds(20_000)
    assert large < 0.2 or large < 40 * max(seconds(2_000), seconds(2_000))


@given(documents)
def test_render_never_raises_and_loses_no_reply(document: str) -> None:
    runs = render(document)
    assert all(run.text for run in runs)
    assert is_blank(plain(runs)) == is_blank(document.encode("utf-16", "replace").decode("utf-16"))
    plain(runs).encode()  # no lone surrogates
    for run in runs:
        kinds = {style.kind for style in run.styles}
        assert not kinds & {Kind.CODE, Kind.PRE} or kinds - {Kind.QUOTE} in ({Kind.CODE}, {Kind.PRE})


@given(documents, st.integers(2, 60), st.integers(8, 12))
def test_pieces_fit_and_keep_all_text(document: str, limit: int, entities: int) -> None:
    runs = render(document)
    pieces = split(runs, limit, entities)
    assert all(utf16(plain(piece)) <= limit and len(spans(piece)) <= entities for piece in pieces)
    assert not any(is_blank(plain(piece)) for piece in pieces)
    assert solid("".join(plain(piece) for piece in pieces)) == solid(plain(runs))


@given(documents, st.integers(20, 60))
def test_styles_go_on_behind_a_cut(document: str, limit: int) -> None:
    runs = render(document)
    whole = [(char, run.styles) for run in runs for char in run.text if not char.isspace() and not is_blank(char)]
    pieces = split(runs, limit)
    again = [
        (c, run.styles) for piece in pieces for run in piece for c in run.text if not c.isspace() and not is_blank(c)
    ]
    assert again == whole


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("aaaa\n\nbbbb cccc\ndddd", 14, ["aaaa", "bbbb cccc\ndddd"]),
        ("• aaaa\nb\n• cccc dddd", 16, ["• aaaa\nb", "• cccc dddd"]),
        ("aaaa bbbb cccc", 10, ["aaaa bbbb", "cccc"]),
        ("今日は。明日は、です", 8, ["今日は。明日は、", "です"]),
        ("abcdef", 4, ["abcd", "ef"]),
        ("ab😀😀", 3, ["ab", "😀", "😀"]),
        ("abce\u0301f", 4, ["abc", "e\u0301f"]),
        ("ab🇯🇵🇩🇪", 8, ["ab🇯🇵", "🇩🇪"]),
        ("x👍🏽y", 4, ["x", "👍🏽", "y"]),
        ("   \n\n a", 3, ["a"]),
    ],
)
def test_cuts_are_where_a_reader_would_cut(text: str, limit: int, expected: list[str]) -> None:
    assert [plain(piece) for piece in split([Run(text)], limit)] == expected


def test_a_code_block_is_cut_last_and_between_lines() -> None:
    runs = render("before it\n\n```py\n  one()\n  two()\n  six()\n```")
    pieces = split(runs, 20)
    assert [plain(piece) for piece in pieces] == ["before it", "  one()\n  two()", "  six()"]
    assert [[style.value for run in piece for style in run.styles] for piece in pieces] == [[], ["py"], ["py"]]


def test_a_place_inside_code_is_no_place_while_there_is_another() -> None:
    assert [plain(piece) for piece in split(render("aaaa bbbb\n\n```\nx\n\ny\nz\n```"), 15)] == [
        "aaaa bbbb",
        "x\n\ny\nz",
    ]


def test_styles_that_overlap_count_as_often_as_they_are_cut() -> None:
    bold, italic, strike = Style(Kind.BOLD), Style(Kind.ITALIC), Style(Kind.STRIKE)
    chain = [{bold}, {bold, italic}, {italic}, {italic, strike}, {strike}, {strike, bold}]
    pieces = split([Run("x", frozenset(styles)) for styles in chain * 5], 100, 8)
    assert "".join(plain(piece) for piece in pieces) == "x" * 30
    assert all(len(spans(piece)) <= 8 for piece in pieces)


def test_a_piece_holds_no_more_entities_than_allowed() -> None:
    pieces = split(render("**b** *i* " * 120), 4096)
    assert [len(spans(piece)) for piece in pieces] == [100, 100, 40]


@pytest.mark.parametrize(("limit", "entities"), [(1, 100), (10, 7)])
def test_impossible_limits_are_refused(limit: int, entities: int) -> None:
    with pytest.raises(ValueError, match="or more"):
        split([Run("a")], limit, entities)


def test_outline_names_blocks_and_lines() -> None:
    blocks = outline(clean("a\r\n\r\n> ```py x\r\n> code\r\n> ```\r\nb"))
    (fence,) = [block for block in blocks if block.kind == "fence"]
    assert (fence.first, fence.end, fence.top, fence.markup, fence.info) == (2, 5, False, "```", "py x")
