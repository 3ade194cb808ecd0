"""docs/scale.md's table is what its formulas give."""

import re

import pytest
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.tests.training.rooms import add_training

add_training()
from training.memory.cost import Fleet, Work, all_reduce_seconds, efficiency, run_hours, run_price, step_seconds

TEXT = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (\d+) x (H100 or H200|24 GB) \| ([\d.]+) s \| (\d+) % \| ([\d.,]+) \| ([\d,]+) \|$", re.MULTILINE
)
TRAINED = 1_384_882_176
DEVICES = {"H100 or H200": (790e12, 300e9, 50e9, 2.5), "24 GB": (165e12, 20e9, 3e9, 0.4)}


@pytest.mark.parametrize("row", ROW.findall(TEXT), ids=lambda row: f"{row[0]} x {row[1]}")
def test_a_row_of_the_table(row):
    count = int(row[0])
    rate, inside, between, price = DEVICES[row[1]]
    fleet = Fleet(count, rate, 0.3, between if count > 8 else inside, price)
    work = Work(3_200_000, max(32, count), 76.4e12, TRAINED)
    shown = [float(each.replace(",", "")) for each in row[2:]]
    computed = [
        step_seconds(work, fleet),
        100 * efficiency(work, fleet),
        run_hours(work, fleet),
        run_price(work, fleet),
    ]
    assert shown == pytest.approx(computed, rel=0.012)


def test_the_table_is_whole():
    assert len(ROW.findall(TEXT)) == 6


def test_one_device_sums_nothing_and_many_send_their_gradients_twice():
    assert all_reduce_seconds(TRAINED, 1, 1e9) == 0
    assert all_reduce_seconds(10**9, 10**6, 4e9) == pytest.approx(2, rel=1e-5)
