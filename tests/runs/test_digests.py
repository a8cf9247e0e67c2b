"""Places by digest: every one of them, in the order of their adding, whatever the digests are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nono.runs.digests import DIGEST_BYTES, DigestTable, Place

# Few different bytes: digests that meet in a bucket, and records whose neighbours look like a digest.
digests = st.lists(st.sampled_from([0, 1, 255]), min_size=DIGEST_BYTES, max_size=DIGEST_BYTES).map(bytes)
places = st.builds(Place, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))


@given(st.lists(st.tuples(digests, places), max_size=40), digests)
def test_a_digest_has_the_places_that_were_added_for_it(added: list[tuple[bytes, Place]], other: bytes) -> None:
    with DigestTable() as table:
        for digest, place in added:
            table.add(digest, place)
        for digest in {other, *(digest for digest, _ in added)}:
            assert list(table.places(digest)) == [place for known, place in added if known == digest]


def test_what_lies_across_two_records_is_no_digest() -> None:
    zeros = bytes(DIGEST_BYTES)
    with DigestTable() as table:
        table.add(b"\0\0" + b"\1" * 14, Place(0, 0, 0))
        table.add(b"\0\0" + b"\1" * 14, Place(0, 0, 0))
        assert list(table.places(zeros)) == []
