"""One inference loop: fixed batch shapes, eval mode, fp32, and a clear word when a model is broken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from nsbench.errors import DataError
from nsbench.inference import batches, evaluating, log_probabilities, pad, predict, require_finite, to_batch


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 49, 4)
    )


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 16, 16, 3), dtype=np.uint8)


def test_to_batch_scales_to_unit_range_channels_first(pixels: np.ndarray) -> None:
    batch = to_batch(pixels, "cpu")
    assert batch.shape == (37, 3, 16, 16)
    assert batch.dtype == torch.float32
    for n, c, h, w in ((0, 0, 0, 0), (3, 2, 15, 1), (36, 1, 7, 9)):
        assert batch[n, c, h, w].item() == np.float32(pixels[n, h, w, c]) / np.float32(255)
    assert to_batch(np.full((1, 2, 2, 3), 255, np.uint8), "cpu").eq(1).all()


def test_predict_is_the_log_softmax_of_each_image(model: nn.Module, pixels: np.ndarray) -> None:
    log_probs = predict(model, pixels, batch_size=8, device="cpu")
    assert log_probs.dtype == np.float32
    model.eval()
    for image, row in zip(pixels, log_probs, strict=True):
        scaled = torch.tensor(image.transpose(2, 0, 1)[None] / 255, dtype=torch.float64)
        logits = model.double()(scaled)[0].detach().numpy()
        np.testing.assert_allclose(row, logits - np.log(np.exp(logits).sum()), atol=1e-5)


def test_every_batch_has_one_shape_and_what_follows_changes_nothing(model: nn.Module, pixels: np.ndarray) -> None:
    shapes: list[torch.Size] = []
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    whole = predict(model, pixels, batch_size=16, device="cpu")
    assert shapes == [(16, 3, 16, 16)] * 3
    for count in (1, 15, 16, 17, 36):
        np.testing.assert_array_equal(predict(model, pixels[:count], batch_size=16, device="cpu"), whole[:count])


def test_batch_slices_cover_every_image_once() -> None:
    for count in (1, 7, 8, 9, 24):
        seen = [i for rows in batches(count, 8) for i in range(count)[rows]]
        assert seen == list(range(count))


def test_no_images_still_show_the_classes(model: nn.Module, pixels: np.ndarray) -> None:
    assert predict(model, pixels[:0], batch_size=8, device="cpu").shape == (0, 4)


def test_modes_and_statistics_are_restored(model: nn.Module, pixels: np.ndarray) -> None:
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, two = (predict(model, pixels, batch_size=8, device="cpu") for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert model.training
    assert model[4].training
    assert not model[1].training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_autocast_and_tf32_are_off_inside_and_restored(model: nn.Module, pixels: np.ndarray) -> None:
    plain = predict(model, pixels, batch_size=8, device="cpu")
    settings = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(predict(model, pixels, batch_size=8, device="cpu"), plain)
    with evaluating(model, "cpu"):
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == settings


class Broken(nn.Module):
    """Gives a NaN for every image whose first value is above a half."""

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, 0, 0, 0]
        return torch.stack([first, torch.where(first > 0.5, torch.nan, first)], dim=1)


def test_logits_that_are_not_finite_are_refused_by_row() -> None:
    pixels = np.zeros((20, 4, 4, 3), dtype=np.uint8)
    pixels[[11, 13], 0, 0, 0] = 255
    with pytest.raises(DataError, match=r"2 of 20 images, first in row 11"):
        predict(Broken(), pixels, batch_size=4, device="cpu")


def shown(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def test_a_batch_is_filled_up_and_answered_as_predict_answers_it(model: nn.Module, pixels: np.ndarray) -> None:
    whole = predict(model, pixels, batch_size=8, device="cpu")
    shapes: list[torch.Size] = []
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    with evaluating(model, "cpu"), torch.inference_mode():
        for rows in batches(len(pixels), 8):
            answered = log_probabilities(model, shown(pixels[rows]), 8)
            assert answered.dtype == torch.float32
            np.testing.assert_array_equal(answered.numpy(), whole[rows])
        assert log_probabilities(model, shown(pixels[:0]), 8).shape == (0, 4)
    assert set(shapes) == {(8, 3, 16, 16)}


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_layout_is_the_one_asked_for(pixels: np.ndarray, channels_last: bool) -> None:
    class Layout(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert images.is_contiguous(memory_format=torch.channels_last) == channels_last
            assert images.is_contiguous() != channels_last
            return images.flatten(1)[:, :3]

    found = log_probabilities(Layout(), shown(pixels), 40, channels_last=channels_last)
    expected = torch.log_softmax(shown(pixels).float().div(255).flatten(1)[:, :3], dim=1)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize(("input_px", "close"), [(12, 2.5), (24, 2.5)])
def test_images_of_another_size_are_resized_as_pillow_does_it(pixels: np.ndarray, input_px: int, close: float) -> None:
    """Bicubic and antialiased: Pillow's, which rounds to whole levels and whose weights are short integers."""
    pixels = 80 + pixels % 96  # Pillow also cuts what overshoots between its two passes
    seen: list[Tensor] = []

    class Seen(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return images.flatten(1)[:, :2]

    log_probabilities(Seen(), shown(pixels), 40, input_px=input_px)
    (batch,) = seen
    assert batch.shape == (40, 3, input_px, input_px)
    assert 0 <= batch.min() <= batch.max() <= 1
    assert (batch[37:] == 0).all()
    for image, tensor in zip(pixels, batch, strict=False):
        resized = np.asarray(Image.fromarray(image).resize((input_px, input_px), Image.Resampling.BICUBIC), np.float32)
        assert np.abs(tensor.permute(1, 2, 0).numpy() * 255 - resized).max() < close
    log_probabilities(Seen(), shown(pixels), 40, input_px=16)
    np.testing.assert_array_equal(seen[1][:37].numpy(), shown(pixels).float().div(255).numpy())


def test_bf16_is_another_arithmetic_and_its_softmax_is_fp32(model: nn.Module, pixels: np.ndarray) -> None:
    with evaluating(model, "cpu"), torch.inference_mode():
        plain, fast = (log_probabilities(model, shown(pixels), 40, amp=amp) for amp in ("off", "bf16"))
    assert fast.dtype == torch.float32
    assert not torch.equal(plain, fast)
    assert (plain - fast).abs().max() < 0.05
    np.testing.assert_allclose(fast.exp().sum(dim=1).numpy(), 1, rtol=1e-6)


def test_values_that_are_not_finite_are_counted_by_row() -> None:
    require_finite(torch.zeros(3, 2))
    require_finite(torch.zeros(0, 2))
    for value in (torch.nan, torch.inf, -torch.inf):
        broken = torch.zeros(4, 2)
        broken[1, 0] = broken[3, 1] = value
        with pytest.raises(DataError, match="2 of 4 images, first in row 1"):
            require_finite(broken)


def test_padding_is_zeros_behind() -> None:
    np.testing.assert_array_equal(pad(np.array([[1, 2]]), 3), [[1, 2], [0, 0], [0, 0]])
    assert pad(np.array([1], np.int64), 1).dtype == np.int64
