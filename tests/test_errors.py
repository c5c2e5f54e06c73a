import pickle

from slamjax.errors import SlamError


def test_a_message_is_one_line_of_bounded_length_whatever_it_quotes():
    message = str(SlamError(f"the selection {'x' * 100_000!r} is\ntoo long \ud800"))
    assert len(message) <= 1500
    assert message.startswith("the selection 'xxx")
    assert message.endswith("is too long \\ud800")
    message.encode()


def test_an_error_survives_the_way_from_a_worker_process():
    error = SlamError("x" * 10_000)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
