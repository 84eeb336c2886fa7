"""Frame: contracts and errors of its boards in the frame's order, and the text of an error."""

from __future__ import annotations

from ime_live.feeds.boards.frame import Board, Frame, RowError
from tests.support.rows import each_row

FUTURES, OPTIONS = "updateFutureMarketsInfo", "updateMarketsInfo"


@each_row(
    ("error", "text"),
    [
        (RowError(FUTURES, None, None, "A: is missing"), f"{FUTURES}: A: is missing"),
        (RowError(FUTURES, 3, None, "no row"), f"{FUTURES}[3]: no row"),
        (RowError(FUTURES, 0, "902", "X: is empty"), f"{FUTURES}[0], contract 902: X: is empty"),
    ],
)
def test_error_names_board_row_and_contract(error: RowError, text: str) -> None:
    assert str(error) == text


def test_frame_has_the_errors_of_its_messages_and_boards() -> None:
    dropped, first, second = (RowError(FUTURES, n, None, "no") for n in (None, 1, 2))
    lost = RowError(OPTIONS, 0, "1", "LastTradingDate: is not a day")
    frame = Frame(
        (Board(FUTURES, errors=(first,)), Board(OPTIONS, errors=(second,), lost=(lost,))),
        dropped=(dropped,),
    )
    assert frame.errors == (dropped, first, second)
    assert frame.lost == (lost,)
    assert (Frame().errors, Frame().quotes) == ((), ())
