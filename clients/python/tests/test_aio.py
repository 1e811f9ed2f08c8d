"""The client for asyncio does what the other one does."""

import asyncio
import inspect
import unittest

import stationmaster
from stationmaster import AsyncClient, Client
from support import ADDRESS, STATION, TCP, TRAINS, execute, tls


class OfAsyncio(unittest.IsolatedAsyncioTestCase):
    async def test_a_train_is_opened_run_and_sealed(self):
        image = TRAINS[3]
        async with AsyncClient(ADDRESS) as client:
            async with await client.open_train(image) as run:
                await asyncio.get_running_loop().run_in_executor(None, execute, image)
            self.assertEqual((await client.verify_train(image)).stops_signed, 1)
            self.assertEqual(run.outcome.run_id, run.prepared.run_id)

    async def test_a_run_that_fails_is_aborted(self):
        image = TRAINS[4]

        async def fail(prepared):
            raise RuntimeError("the train failed")

        async def succeed(prepared):
            await asyncio.get_running_loop().run_in_executor(None, execute, image)

        async with AsyncClient(ADDRESS) as client:
            with self.assertRaisesRegex(RuntimeError, "the train failed"):
                await client.run_train(image, fail)
            self.assertTrue((await client.run_train(image, succeed)).image_id)

    async def test_calls_run_at_once_and_refusals_are_the_same_exceptions(self):
        async with AsyncClient(TCP, **tls()) as client:
            both = await asyncio.gather(client.status(), client.keys())
            self.assertTrue(both[0].serving and both[1])
            with self.assertRaises(stationmaster.KeyNotFoundError):
                await client.key("absent")
        async with AsyncClient("unix:///nowhere/api.sock") as client:
            with self.assertRaises(stationmaster.ConnectionFailedError):
                await client.status()

    def test_both_clients_have_the_same_methods(self):
        def signatures(kind):
            public = {name: member for name, member in vars(kind).items() if not name.startswith("_") and callable(member)}
            return {name: list(inspect.signature(member).parameters) for name, member in public.items()}

        self.assertEqual(signatures(Client), signatures(AsyncClient))


if __name__ == "__main__":
    unittest.main()
