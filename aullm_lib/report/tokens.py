"""What a prompt's tokens are called in a figure: its font has no Chinese, in which the released recipe's prompt is."""

from collections.abc import Sequence

from matplotlib import font_manager

from aullm_lib.explain.probes import PART, VISUAL

WORDS = {
    "请": "please", "分析": "analyse", "融合": "fuse", "后的": "after", "人脸": "face", "视频": "video",
    "特征": "features", "，": ",", "对": "on", "面部": "facial", "动作": "action", "单元": "units",
    "进行": "carry out", "分类": "classification", "：": ":",
}  # fmt: skip
"""That prompt, word by word."""
MEANING = "Please analyse the fused features of the face video, and classify the facial action units:"


def named(tokens: Sequence[str]) -> tuple[list[str], str]:
    """The tokens as a figure can show them, numbered from 1, and what is to be said of them, "" if nothing.

    Of the released recipe's prompt a token has the English of the words that it is of. A character that the figure's
    font lacks is otherwise written by its number, such as U+8BF7.
    """
    prompt, english = "".join(WORDS), [word for chinese, word in WORDS.items() for _ in chinese]  # a character each
    begin = "".join(token for token in tokens if token not in (VISUAL, PART)).find(prompt)  # behind a start token
    labels, at = [], 0
    for number, token in enumerate(tokens, 1):
        size = 0 if token in (VISUAL, PART) else len(token)
        within = range(at - begin, at - begin + max(1, size)) if begin >= 0 and token != VISUAL else ()
        words = dict.fromkeys(english[i] for i in within if 0 <= i < len(english))
        shown = [*words, *[PART] * (token == PART)] or [_drawable(token)]
        labels.append(" ".join([str(number), *shown]))
        at += size
    said = f"The prompt is Chinese, “{MEANING}”; a token is shown as the English of its word, {PART} for a part of it."
    return labels, said if begin >= 0 else ""


def _drawable(text: str) -> str:
    known = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    shown = text.strip() or "␣"
    return "".join(letter if ord(letter) in known else f"U+{ord(letter):04X}" for letter in shown)
