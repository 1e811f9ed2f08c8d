"""The API's messages, made from their descriptors: works with every protobuf from 4.21 on."""

from __future__ import annotations

import pkgutil
from typing import Any, Dict

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2


def _rpc_file() -> descriptor_pb2.FileDescriptorProto:
    """google/rpc: the parts of Status that the service sends (https://google.aip.dev/193)."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="google/rpc/status_parts.proto", package="google.rpc", syntax="proto3")
    file.dependency.extend(["google/protobuf/any.proto", "google/protobuf/duration.proto"])
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    status.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    status.field.add(
        name="details", number=3, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED, type_name=".google.protobuf.Any"
    )
    info = file.message_type.add(name="ErrorInfo")
    info.field.add(name="reason", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    info.field.add(name="domain", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry = info.nested_type.add(name="MetadataEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    info.field.add(
        name="metadata",
        number=3,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".google.rpc.ErrorInfo.MetadataEntry",
    )
    retry = file.message_type.add(name="RetryInfo")
    retry.field.add(
        name="retry_delay", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name=".google.protobuf.Duration"
    )
    return file


def _pool() -> Any:
    # A pool of its own: another package may have registered another version of the same names in the common one.
    pool: Any = descriptor_pool.DescriptorPool()
    for module in (any_pb2, duration_pb2, timestamp_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_rpc_file().SerializeToString())
    data = pkgutil.get_data(__package__ or "stationmaster", "descriptors.bin")
    assert data is not None
    waiting = list(descriptor_pb2.FileDescriptorSet.FromString(data).file)
    known = {module.DESCRIPTOR.name for module in (any_pb2, duration_pb2, timestamp_pb2)}
    waiting = [file for file in waiting if file.name not in known]
    # A file follows those that it imports.
    while waiting:
        ready = [file for file in waiting if known.issuperset(file.dependency)]
        for file in ready:
            pool.AddSerializedFile(file.SerializeToString())
            known.add(file.name)
            waiting.remove(file)
        if not ready:
            raise ImportError("descriptors.bin is incomplete")
    return pool


_POOL = _pool()
_CLASSES: Dict[str, Any] = {}


def message(name: str) -> Any:
    """Returns the class of a message, by its full name."""
    if name not in _CLASSES:
        descriptor = _POOL.FindMessageTypeByName(name)
        if hasattr(message_factory, "GetMessageClass"):
            _CLASSES[name] = message_factory.GetMessageClass(descriptor)
        else:
            factory: Any = message_factory
            _CLASSES[name] = factory.MessageFactory(_POOL).GetPrototype(descriptor)
    return _CLASSES[name]
