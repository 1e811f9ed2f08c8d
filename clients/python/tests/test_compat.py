"""A station's workflow of train_lib, in which only the imports are changed."""

import json
import os
import subprocess
import sys
import unittest
import warnings

import stationmaster
from stationmaster import compat
from stationmaster.compat import SecurityProtocol, extract_query_json, extract_train_config
from support import STATION, TRAINS, execute
from train_lib.security.errors import ValidationError
from train_lib.security.train_config import TrainConfig


class OfTrainLib(unittest.TestCase):
    def test_the_steps_of_a_station_are_the_same_calls(self):
        image = TRAINS[5]
        # As in the workflow, where the config travels between tasks as a dictionary.
        config = extract_train_config(image)
        self.assertIsInstance(config, TrainConfig)
        carried = json.loads(config.json(by_alias=True))
        with self.assertWarnsRegex(DeprecationWarning, "the station's key is in the token"):
            protocol = SecurityProtocol(STATION, config=TrainConfig(**carried))
            protocol.pre_run_protocol(image, "/opt/private_key.pem")
        self.assertTrue(json.loads(extract_query_json(image)))
        execute(image)
        # Another task, in another process.
        later = SecurityProtocol(STATION, config=TrainConfig(**carried))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            later.post_run_protocol(image, "/opt/private_key.pem", rebase=True)
        self.assertIsInstance(later.config, TrainConfig)
        self.assertTrue(later.config.result_hash and later.config.route[0].signature.signature)
        self.assertTrue(later._is_first_station_on_route() is False)

    def test_refused_trains_raise_train_libs_exception_and_keep_the_refusal(self):
        self.assertIs(compat.ValidationError, ValidationError)
        image = TRAINS[7]
        config = extract_train_config(image)
        with self.assertRaisesRegex(ValidationError, "not found in route"):
            SecurityProtocol("elsewhere", config=config)
        with stationmaster.Client() as client:
            client.run_train(image, lambda prepared: None, no_results=True)
        with self.assertRaises(ValidationError) as caught:
            SecurityProtocol(STATION, config=config).pre_run_protocol(image)
        self.assertIsInstance(caught.exception.error, stationmaster.TrainReplayedError)
        with self.assertRaises(stationmaster.ImageNotFoundError):
            extract_train_config("stationmaster-test/none:latest")

    def test_what_needs_a_key_in_this_process_says_what_to_call_instead(self):
        manager = SecurityProtocol(STATION, config=extract_train_config(TRAINS[6])).key_manager
        with self.assertRaisesRegex(NotImplementedError, "Client.pre_run opens the train"):
            manager.decrypt_symmetric_key("00", "/opt/private_key.pem")
        with self.assertRaisesRegex(NotImplementedError, "Client.post_run"):
            compat.FileEncryptor(b"key")
        with self.assertRaisesRegex(NotImplementedError, "hash_image"):
            compat.hash_results([], b"")

    def test_the_protocol_containers_command_line_works(self):
        image = TRAINS[6]

        def step(*arguments, **environment):
            command = [sys.executable, "-m", "stationmaster.protocol", *arguments]
            return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)

        station = {"STATION_ID": STATION, "PRIVATE_KEY_PATH": "/opt/private_key.pem"}
        self.assertEqual(step("pre-run", image).returncode, 2, "STATION_ID is missing")
        opened = step("pre-run", image, **station)
        self.assertEqual(opened.returncode, 0, opened.stderr)
        self.assertIn("PRIVATE_KEY_PATH is ignored", opened.stderr)
        execute(image)
        sealed = step("post-run", image, "--rebase", **station)
        self.assertEqual(sealed.returncode, 0, sealed.stderr)
        again = step("pre-run", image, **station)
        self.assertEqual(again.returncode, 1)
        self.assertIn("TRAIN_REPLAYED", again.stderr)


if __name__ == "__main__":
    unittest.main()
