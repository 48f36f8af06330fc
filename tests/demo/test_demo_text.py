import pytest

from proxy.demo.text import PIECES, TEXT, pieces, prompt_tokens


@pytest.mark.filterwarnings("ignore:open_binary is deprecated")  # the tokenizer's own import does that
@pytest.mark.parametrize("encoding", ["cl100k_base", "o200k_base"])
def test_each_piece_is_one_token_for_a_tokenizer_too(encoding: str) -> None:
    """Wherever the text is stopped, counting its pieces and counting its tokens gives the same number."""
    tokenizer = pytest.importorskip("bpe_openai").get_encoding(encoding)
    for tokens in (1, 5, 34, len(PIECES), len(PIECES) + 50, 400):
        assert len(list(tokenizer.encode("".join(pieces(tokens))))) == tokens


def test_the_pieces_are_the_text() -> None:
    """Nothing of the text is lost by cutting it."""
    assert "".join(PIECES) == TEXT


def test_a_long_answer_says_the_text_again() -> None:
    """Behind the end the text starts over, with a space between."""
    assert "".join(pieces(2 * len(PIECES))) == f"{TEXT} {TEXT}"


def test_prompts_of_every_shape_are_counted() -> None:
    """Words count, in plain prompts, lists, messages and their parts; roles do not."""
    parts = [{"type": "text", "text": "three more words"}, {"type": "image_url", "image_url": {"url": "x"}}]
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": parts}]
    assert prompt_tokens({"messages": messages}) == 5
    assert prompt_tokens({"prompt": "one two"}) == 2
    assert prompt_tokens({"prompt": ["one", "two three"]}) == 3
    assert prompt_tokens({}) == 0


def test_a_prompt_of_great_depth_is_counted() -> None:
    """Depth costs no stack."""
    prompt: object = "deep"
    for _ in range(100_000):
        prompt = [prompt]
    assert prompt_tokens({"prompt": prompt}) == 1
