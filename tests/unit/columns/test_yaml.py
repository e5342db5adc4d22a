import pytest

from holdfast.columns import dump_yaml, load_yaml
from holdfast.core.contract import Contract, Field, Output
from holdfast.errors import InvalidInput

CONTRACT = Contract(
    fields=(
        Field(
            name="no",
            datatype="BYTES",
            categories=("yes", "1.0", "null", "Größe: 1", "two\x85lines\u2028more", "2025-01-01"),
            nullable=True,
        ),
        Field(name="big", datatype="FP64", minimum=-1e300, maximum=1e20, importance=0.5),
        Field(name="sold", datatype="BYTES", feature=False, marks=("timestamp", "calendar")),
    ),
    output=Output(task="binary", label="y", classes=("0", "1"), label_datatype="INT64", threshold=0.3),
    timezone="Europe/Vienna",
)


def test_what_is_written_is_read_back():
    assert load_yaml(dump_yaml(CONTRACT)) == CONTRACT


def test_the_same_contract_gives_the_same_text():
    assert dump_yaml(CONTRACT) == dump_yaml(load_yaml(dump_yaml(CONTRACT)))


def test_comments_explain_what_may_be_edited():
    text = dump_yaml(CONTRACT)
    assert all(word in text for word in ("# ", "nullable", "on_violation", "marks", "threshold"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("datatype: FP64", "datatype: FP65", "field 'big'"),
        ("minimum: -", "minimun: -", "field 'big'"),
        ("'1.0'", "1.0", "field 'no'"),
        ("maximum: 1.0e+20", "maximum: -1.0e+308", "field 'big'"),
        ("fields:", "fields: [", "line"),
        ("name: big", "name: no", "twice|field 'False'"),
        ("threshold: 0.3", "threshold: much", "threshold"),
        (
            "timezone: Europe/Vienna",
            "timezone: Europe/Vienna\ntimezone: UTC",
            "'timezone' stands twice, contract.yaml, line",
        ),
    ],
)
def test_a_mistake_is_named(old, new, said):
    text = dump_yaml(CONTRACT)
    assert old in text
    with pytest.raises(InvalidInput, match=said) as caught:
        load_yaml(text.replace(old, new))
    assert caught.value.next_step


@pytest.mark.parametrize(
    "text", ["", "[]", "17", "fields: 1", "\x00", "a: !!python/object:os.system x", "a: 2025-13-01"]
)
def test_what_is_no_contract_at_all(text):
    with pytest.raises(InvalidInput):
        load_yaml(text)
