"""Ratings files in every layout give the same frame; bad rows are counted, a wrong file is refused."""

from __future__ import annotations

import pytest

from models.recommend.files import FileError, load, positives

ROWS = [("7", "10", "4.0", "978300760"), ("7", "2", "3.5", "978300761"), ("1", "10", "5.0", "978300762")]


def text(separator: str, header: str = "") -> bytes:
    return (header + "\n".join(separator.join(row) for row in ROWS) + "\n").encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ratings.csv", text(",", "userId,movieId,rating,timestamp\n")),
        ("ratings.dat", text("::")),
        ("u.data", text("\t")),
        ("ml.inter", text("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n")),
        ("interactions.csv", text(",", "user,item,weight,time\n")),
        (
            "interactions.tsv",
            b"time\titem\tuser\tweight\n2000-12-31T22:12:40Z\t10\t7\t4\n978300761\t2\t7\t3.5\n978300762\t10\t1\t5\n",
        ),
    ],
)
def test_every_layout_gives_the_same(name: str, content: bytes) -> None:
    found = load({name: content})
    assert found.interactions.values.tolist() == [
        ["1", "10", 5.0, 978300762],
        ["7", "10", 4.0, 978300760],
        ["7", "2", 3.5, 978300761],
    ]
    assert not len(found.refused) and found.repeated == 0
    assert positives(found.interactions)["title_id"].tolist() == ["10", "10"]


def test_a_file_without_time_and_weight() -> None:
    found = load({"interactions.csv": b"user,item\na,x\na,y\n"}).interactions
    assert found["weight"].tolist() == [1.0, 1.0] and found["at"].isna().all()


@pytest.mark.parametrize("content", [b"user,item\na,x\na,y\n", b"user,item,weight\na,x,0.2\na,y,0.9\n"])
def test_where_nothing_is_a_rating_every_row_counts(content: bytes) -> None:
    assert positives(load({"interactions.csv": content}).interactions)["title_id"].tolist() == ["x", "y"]


def test_what_a_spreadsheet_writes_is_read() -> None:
    content = b'\xef\xbb\xbf"user","item","weight"\r\n"a","x, y","4"\r\n"b,z,5\r\nb,z,5\r\n'
    found = load({"interactions.csv": content + b"b,z,5\r\n" * 200}).interactions  # one quote is never closed
    assert found[["profile_id", "title_id", "weight"]].values.tolist() == [["a", "x, y", 4.0], ["b", "z", 5.0]]


def test_a_time_beyond_the_clock_is_set_aside() -> None:
    """Milliseconds, and numbers no clock holds."""
    rows = b"a,x,5\n" + b"".join(b"u%d,x,5\n" % i for i in range(400)) + b"b,x,1700000000000\nc,x,1e30\nd,x,-1e30\n"
    found = load({"interactions.csv": b"user,item,time\n" + rows})
    assert set(found.refused["reason"]) == {"time is neither seconds nor ISO 8601"} and len(found.refused) == 3


def test_bad_rows_are_set_aside_with_line_and_reason() -> None:
    good = "".join(f"{i},{i % 7},4,{i}\n" for i in range(500))
    bad = "1,,4,5\n1,2,great,5\n1,2,-1,5\n1,2,4,noon\n1,2,4,5,6\n"
    found = load({"ratings.csv": ("userId,movieId,rating,timestamp\n" + bad + good).encode()})
    assert len(found.interactions) == 500
    assert found.refused["line"].tolist() == [2, 3, 4, 5, 6]
    assert found.refused["reason"].tolist() == [
        "item is missing",
        "weight or rating is no number",
        "weight or rating is not above 0",
        "time is neither seconds nor ISO 8601",
        "too many columns",
    ]


def test_of_a_repeated_pair_the_latest_counts() -> None:
    found = load({"u.data": b"1\t2\t3\t20\n1\t2\t5\t10\n"})
    assert found.interactions["weight"].tolist() == [3.0] and found.repeated == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "found no files"),
        ({"notes.txt": b""}, "found notes.txt"),
        ({"ratings.csv": b""}, "ratings.csv is empty"),
        ({"ratings.csv": b"a,b\n1,2\n"}, "user and item are needed"),
        ({"interactions.csv": b"user,item,rating,weight\n1,2,4,1\n"}, "more than one column of weight"),
        ({"ratings.dat": b"\x00\x01\x02garbage\n"}, "none of 1 rows"),
        ({"u.data": b"1\t2\t3\t4\n" * 9 + b"1\t2\n"}, "truncated or of another layout"),
        ({"u.data": b"1\t2\t3\t4\n", "movies.dat": b"1::x\n"}, "movies.dat has a line"),
    ],
)
def test_a_file_that_is_something_else_is_refused(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(FileError, match=words):
        load(files)


def test_titles_with_genres() -> None:
    ratings = text("::")
    csv = load(
        {"ratings.dat": ratings, "movies.csv": b'movieId,title,genres\n2,"Heat, The (1995)",Crime|Drama\n'}
    ).titles
    assert csv.values.tolist() == [["2", "Heat, The (1995)", ("crime", "drama")]]
    dat = load({"ratings.dat": ratings, "movies.dat": b"2::Heat (1995)::Crime|Drama\n"}).titles
    assert dat["genres"].tolist() == [("crime", "drama")]
    item = b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n2\tHeat\t1995\tCrime Drama\n"
    inter = text("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n")
    assert load({"x.inter": inter, "x.item": item}).titles.values.tolist() == [["2", "Heat (1995)", ("crime", "drama")]]
