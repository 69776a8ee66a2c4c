"""Window order: every token once, kinds side by side, and the same windows as roll and partition give."""

import pytest
import torch
from einops import rearrange
from skysense.model.swin_windows import window_order

CPU = torch.device("cpu")


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 12), (4, 4), (9, 6), (4, 11)])
def test_order_is_that_of_roll_and_partition(height: int, width: int, shift: int) -> None:
    side, batch = 4, 2
    order = window_order(batch, height, width, side, shift, CPU)
    padded = torch.zeros(batch, -(-height // side) * side, -(-width // side) * side, dtype=torch.int64)
    padded[:, :height, :width] = torch.arange(1, batch * height * width + 1).view(batch, height, width)
    rolled = padded.roll((-shift, -shift), (1, 2))
    windows = rearrange(rolled, "b (y i) (x j) -> y x b (i j)", i=side, j=side)
    rows, cols = windows.shape[:2]
    ours = padded.flatten()[order.order].view(-1, side * side)
    assert [kind for kind, _, _ in order.kinds] == sorted({kind for kind, _, _ in order.kinds})
    for (last_row, last_col), first, stop in order.kinds:
        y = slice(rows - 1, rows) if last_row else slice(0, rows - 1 if shift else rows)
        x = slice(cols - 1, cols) if last_col else slice(0, cols - 1 if shift else cols)
        assert torch.equal(ours[first:stop], windows[y, x].reshape(-1, side * side))
    assert order.kinds[0][1] == 0 and order.kinds[-1][2] == len(ours)
    assert torch.equal(order.order.sort().values, torch.arange(padded.numel()))
    assert torch.equal(padded.flatten()[order.order][order.inverse], padded[:, :height, :width].flatten())
