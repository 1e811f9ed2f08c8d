"""The client for programs without asyncio, at a real station."""

import hashlib
import os
import socket
import stat
import tempfile
import unittest

import stationmaster
from stationmaster import Client, RuleOutcome, SignatureScheme
from support import ADDRESS, PKI, STATION, TCP, TRAINS, execute, tls


class OfKeys(unittest.TestCase):
    def test_the_station_tells_its_state_and_signs(self):
        with Client(ADDRESS) as client:
            status = client.status()
            self.assertEqual((status.serving, status.station), (True, STATION))
            self.assertIn(STATION, [key.label for key in client.keys()])
            signed = client.sign(f"{STATION}-general", SignatureScheme.RSA_PSS_SHA512, hashlib.sha512(b"x").digest())
            self.assertEqual(len(signed.signature), 256)
            self.assertEqual(signed.fingerprint, client.key(f"{STATION}-general").fingerprint)

    def test_mutual_tls_works_as_the_socket_does(self):
        with Client(TCP, **tls()) as client:
            self.assertTrue(client.status().serving)
        with self.assertRaisesRegex(ValueError, "tls_ca"):
            Client(TCP)
        with Client(TCP, **dict(tls(), tls_ca=os.path.join(PKI, "client.pem"))) as client:
            with self.assertRaises(stationmaster.ConnectionFailedError):
                client.keys(timeout=2)

    def test_a_refusal_is_an_exception_of_its_reason_with_what_to_do(self):
        with Client(ADDRESS) as client:
            with self.assertRaises(stationmaster.KeyNotFoundError) as caught:
                client.key("absent")
            self.assertEqual((caught.exception.code, caught.exception.reason), ("NOT_FOUND", "KEY_NOT_FOUND"))
            with self.assertRaises(stationmaster.KeyNotAllowedError):
                client.sign(STATION, SignatureScheme.RSA_PSS_SHA512, bytes(64))
            with self.assertRaises(stationmaster.UnwrapFailedError) as caught:
                client.unwrap_key(f"{STATION}-general", stationmaster.WrappingScheme.RSA_OAEP_SHA512, bytes(256))
            self.assertIn("audit show --refusal", str(caught.exception))

    def test_a_socket_that_cannot_be_used_is_explained_at_once(self):
        with Client("unix:///nowhere/api.sock") as client:
            with self.assertRaisesRegex(stationmaster.ConnectionFailedError, "there is no socket /nowhere/api.sock.*start the service"):
                client.status()
        with tempfile.TemporaryDirectory() as directory:
            # Nothing listens on a socket that a killed service left.
            path = os.path.join(directory, "left.sock")
            left = socket.socket(socket.AF_UNIX)
            left.bind(path)
            left.close()
            self.assertTrue(stat.S_ISSOCK(os.stat(path).st_mode))
            with Client(f"unix://{path}") as client:
                with self.assertRaisesRegex(stationmaster.ConnectionFailedError, "systemctl status stationmaster"):
                    client.status(timeout=1)
        with self.assertRaisesRegex(ValueError, "is no address"):
            Client("http://station")

    def test_a_deadline_that_passes_is_an_exception_too(self):
        with Client(ADDRESS) as client:
            with self.assertRaises(stationmaster.DeadlineExceededError):
                client.hash_image(TRAINS[0], timeout=0.001)


class OfTrains(unittest.TestCase):
    def test_a_train_is_opened_run_and_sealed_in_a_with_statement(self):
        image, seen = TRAINS[0], []
        with Client(ADDRESS) as client:
            stated = client.inspect_train(image)
            self.assertEqual([stop.station for stop in stated.route], [STATION])
            self.assertTrue(client.verify_train(image).holds)
            prepared = client.pre_run(image, progress=seen.append)
            self.assertTrue(seen and all(isinstance(step, stationmaster.Progress) for step in seen))
            self.assertNotIn(repr(prepared.query), repr(prepared), "a query does not belong into a log")
            with client.open_train(image) as run:
                self.assertTrue(run.prepared.repeated_answer)
                self.assertEqual(run.prepared.run_id, prepared.run_id)
                execute(image)
            self.assertEqual(run.outcome.run_id, prepared.run_id)
            checked = client.verify_train(image)
            self.assertEqual((checked.holds, checked.stops_signed), (True, 1))
            self.assertTrue(all(rule.outcome != RuleOutcome.BROKEN for rule in checked.rules))
            self.assertTrue(client.check_push(image).ok)
            with self.assertRaises(stationmaster.TrainReplayedError) as caught:
                client.pre_run(image)
            self.assertEqual(caught.exception.metadata["run_id"], prepared.run_id)
            with tempfile.TemporaryDirectory() as directory:
                to = os.path.join(directory, "results")
                client.open_results(to, image)
                with open(os.path.join(to, "python"), "rb") as file:
                    self.assertEqual(file.read(), b"a result\n")
                with self.assertRaises(FileExistsError):
                    client.open_results(to, image)

    def test_a_run_that_fails_is_aborted(self):
        image = TRAINS[1]
        with Client(ADDRESS) as client:
            with self.assertRaisesRegex(RuntimeError, "the train failed"):
                client.run_train(image, lambda prepared: execute(prepared.image, "exit 3"))
            # Nothing is open: the train can start over.
            outcome = client.run_train(image, lambda prepared: execute(prepared.image))
            self.assertEqual(outcome.image, image)

    def test_results_that_cannot_be_sealed_now_are_kept(self):
        image = TRAINS[8]
        with Client(ADDRESS) as client:
            with self.assertRaises(stationmaster.ImageNotFoundError):
                with client.open_train(image) as run:
                    execute(image)
                    run.image = "stationmaster-test/none:latest"
            outcome = client.post_run(run.prepared.run_id, image=image)
            self.assertEqual(outcome.result_files, 1)

    def test_a_run_that_changes_nothing_is_refused_and_aborted(self):
        image = TRAINS[2]
        with Client(ADDRESS) as client:
            with self.assertRaises(stationmaster.RunUnchangedError):
                client.run_train(image, lambda prepared: None)
            self.assertTrue(client.run_train(image, lambda prepared: None, no_results=True).image_id)


if __name__ == "__main__":
    unittest.main()
