"""What controls make of frames and prompts; those in the LLM's place are tested with the model."""

import itertools

import pytest
import torch
from transformers import AutoTokenizer

from aullm_lib.controls import UNRELATED, ordered, prompt_ids
from aullm_lib.recipe import Recipe
from aullm_lib.support.tiny import build_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("llm") / "tiny", hidden=32, heads=2, kv_heads=1)


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny)


def clips(b=4, t=6):
    return torch.randint(0, 256, (b, t, 9, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_reversed_frames_run_backwards_and_forward_ones_are_left_alone():
    x = clips()
    for training in (True, False):
        assert ordered(x, "forward", training) is x
        assert torch.equal(ordered(x, "reversed", training), x[:, [5, 4, 3, 2, 1, 0]])


@pytest.mark.parametrize("training", [True, False])
def test_shuffled_frames_are_the_clips_own_in_an_order_of_each_clips_own(training):
    x, orders = clips(64), set()
    for clip, shuffled in zip(x, ordered(x, "shuffled", training), strict=True):
        order = [next(i for i, frame in enumerate(clip) if torch.equal(frame, other)) for other in shuffled]
        assert sorted(order) == list(range(6))
        orders.add(tuple(order))
    assert len(orders) > 40  # of 720


def test_in_test_nothing_of_the_order_is_left_and_no_other_clip_matters():
    x = clips(2, 4)
    want = ordered(x, "shuffled", training=False)
    for order in itertools.permutations(range(4)):
        assert torch.equal(ordered(x[:, order], "shuffled", training=False), want)
    assert torch.equal(ordered(x[1:], "shuffled", training=False), want[1:])
    as_float = x.double().requires_grad_()
    ordered(as_float, "shuffled", training=False)[0, 0].sum().backward()
    assert as_float.grad.sum() == 9 * 8 and torch.equal(ordered(x.float(), "shuffled", training=False), want.float())


def test_in_training_the_global_generator_draws_anew():
    x = clips()
    torch.manual_seed(1)
    first, second = (ordered(x, "shuffled", training=True) for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(ordered(x, "shuffled", training=True), first) and not torch.equal(first, second)


@pytest.mark.parametrize("prompt", [Recipe.paper().prompt, Recipe.released().prompt])
def test_controls_of_the_prompt(tokenizer, prompt):
    ids = {control: prompt_ids(tokenizer, prompt, control) for control in ("none", "shuffled", "random", "unrelated")}
    assert ids == {control: prompt_ids(tokenizer, prompt, control) for control in ids}
    assert ids["none"] == tokenizer(prompt)["input_ids"]
    assert sorted(ids["shuffled"]) == sorted(ids["none"]) and ids["shuffled"] != ids["none"]
    assert len(ids["random"]) == len(ids["none"]) and len(set(ids["random"]) & set(ids["none"])) < len(ids["none"]) / 4
    assert max(ids["random"]) < tokenizer.vocab_size
    text = tokenizer.decode(ids["unrelated"])
    assert text == UNRELATED[prompt == Recipe.released().prompt]
    assert text.isascii() == prompt.isascii() and abs(len(text) - len(prompt)) <= 6


def test_a_start_token_stays_first():
    class Starting:  # a tokenizer that begins each text with a start token, as Llama's does
        all_special_ids, vocab_size = [7], 40

        def __call__(self, text):
            return {"input_ids": [7, *range(20, 20 + len(text))]}

    shuffled, drawn = (prompt_ids(Starting(), "muscles", control) for control in ("shuffled", "random"))
    assert shuffled[0] == drawn[0] == 7 and 7 not in shuffled[1:] + drawn[1:]
    assert sorted(shuffled[1:]) == list(range(20, 27)) and len(drawn) == 8


def test_no_prompt_has_no_token(tokenizer):
    assert prompt_ids(tokenizer, "") == []
