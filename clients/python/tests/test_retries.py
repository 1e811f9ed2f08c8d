"""Which calls are made again after which failures."""

import unittest

from stationmaster import AuditUnavailableError, HsmUnavailableError, NoAnswerError, OverloadedError, RunUnchangedError
from stationmaster import _core as core
from stationmaster._failure import Repetition, pause_before_retry


class OfRetries(unittest.TestCase):
    def test_a_key_is_not_used_again_where_it_may_have_been_used(self):
        refused = OverloadedError("busy", retry_after=0.1)
        doubtful = [NoAnswerError("the connection ended"), *(kind("away", retry_after=0.1) for kind in (HsmUnavailableError, AuditUnavailableError))]
        sign = core.sign("a", 1, b"", None).repetition
        self.assertEqual([pause_before_retry(error, sign, 0, 9) for error in doubtful], [None] * 3)
        self.assertGreaterEqual(pause_before_retry(refused, sign, 0, 9), 0.1)
        read = core.list_keys().repetition
        self.assertTrue(all(pause_before_retry(error, read, 0, 9) for error in [refused, *doubtful]))
        # Neither what a person has to act upon, nor beyond the deadline, nor for ever.
        self.assertIsNone(pause_before_retry(RunUnchangedError("unchanged"), read, 0, 9))
        self.assertIsNone(pause_before_retry(refused, read, 0, 0.05))
        self.assertIsNone(pause_before_retry(refused, read, 5, 9))

    def test_an_archive_that_is_read_once_is_sent_once(self):
        pieces = core.verify_train(None, iter([b"a"])).repetition
        self.assertIs(pieces, Repetition.NEVER)
        self.assertIsNone(pause_before_retry(OverloadedError("busy", retry_after=0.1), pieces, 0, 9))
        self.assertIs(core.verify_train(None, b"a").repetition, Repetition.HARMLESS)


if __name__ == "__main__":
    unittest.main()
