"""The one-shot that makes a deployment's bucket: made once, tried, refused where two writers may win."""

import pytest

from storage import make_bucket
from tests.storage.servers import aws_environment


def test_the_bucket_is_made_once_and_tried(ministack_endpoint: str) -> None:
    with aws_environment(ministack_endpoint):
        first = make_bucket.ensure("s3://made-by-the-deployment/itpo")
        second = make_bucket.ensure("s3://made-by-the-deployment/itpo")

    assert first == "bucket made-by-the-deployment: made, conditional writes are honoured"
    assert "conditional writes are honoured" in second


def test_a_store_that_lets_two_writers_win_ends_the_start(
    forgetful_endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with aws_environment(forgetful_endpoint):
        status = make_bucket.main(["s3://unsafe-bucket/itpo"])

    assert status == 1
    assert "s3://unsafe-bucket/itpo" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], [""], ["/opt/itpo/lake"]])
def test_a_lake_in_a_folder_wants_no_bucket(arguments: list[str]) -> None:
    assert make_bucket.main(arguments) == 0


def test_nobody_there_is_said(unused_endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with aws_environment(unused_endpoint):
        status = make_bucket.main(["s3://nowhere/itpo"])

    assert status == 1
    assert "s3://nowhere/itpo: Could not connect" in capsys.readouterr().err
