import pytest

from proxy.demo.text import PIECES, TEXT, pieces


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
