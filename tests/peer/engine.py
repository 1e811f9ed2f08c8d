"""What the test peer asks of the Docker engine."""

import contextlib
import tarfile
import tempfile

import docker

LABEL = "stationmaster.peer"
SPOOL_IN_MEMORY = 64 << 20


def connect():
    return docker.from_env(timeout=600)


@contextlib.contextmanager
def container(client, image, **options):
    created = client.containers.create(image, **options)
    try:
        yield created
    finally:
        created.remove(force=True, v=True)


def fetch(created, path):
    """The engine's archive of `path` in a container, as a rewound file."""
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY)
    for chunk in created.get_archive(path, chunk_size=1 << 20)[0]:
        spool.write(chunk)
    spool.seek(0)
    return spool


def walk(client, image, path):
    """(member, content or None) for everything under `path`, in the engine's order."""
    with container(client, image) as created, fetch(created, path) as spool:
        with tarfile.open(fileobj=spool, mode="r:") as archive:
            for member in archive:
                yield member, archive.extractfile(member).read() if member.isreg() else None


def split_reference(reference):
    repository, separator, tag = reference.rpartition(":")
    if not separator or "/" in tag:
        return reference, "latest"
    return repository, tag


def base_of(reference):
    return split_reference(reference)[0] + ":base"


@contextlib.contextmanager
def removing_created_containers():
    """train_lib leaves containers behind (pre-run always, post-run without a query): they are taken away afterwards."""
    from docker.models.containers import ContainerCollection

    plain_create = ContainerCollection.create
    made = []

    def create(self, *args, **kwargs):
        new = plain_create(self, *args, **kwargs)
        made.append(new)
        return new

    ContainerCollection.create = create
    try:
        yield
    finally:
        ContainerCollection.create = plain_create
        for created in made:
            with contextlib.suppress(docker.errors.NotFound):
                created.remove(force=True, v=True)


def remove_images(client, repository):
    """All images of a test's train, untagged ones included: they inherit the label that make-train gives."""
    removed = []
    for _ in range(20):  # children first, and the engine does not list them in that order
        images = client.images.list(all=True, filters={"label": f"{LABEL}={repository}"})
        if not images:
            break
        for image in images:
            with contextlib.suppress(docker.errors.APIError):
                client.images.remove(image.id, force=True)
                removed.append(image.id)
    return removed
