"""Submits a sweep and reads its results, with nothing of Gauntlet but its protos.

    python client.py PROTO_DIR ENDPOINT SWEEP.toml

Needs grpcio, grpcio-tools and grpcio-reflection. Prints the results as JSON lines.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path

import grpc
from google.protobuf.json_format import MessageToDict
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc


def generate(proto_dir):
    """Compiles the protos and imports what comes out."""
    out = tempfile.mkdtemp()
    protos = sorted(str(path.relative_to(proto_dir)) for path in Path(proto_dir).rglob("*.proto"))
    if protoc.main(["protoc", f"-I{proto_dir}", f"--python_out={out}", f"--grpc_python_out={out}", *protos]):
        raise SystemExit("the protos do not compile")
    sys.path.insert(0, out)
    return importlib.import_module("gauntlet.v1.sweep_pb2"), importlib.import_module("gauntlet.v1.sweep_pb2_grpc")


def main(proto_dir, endpoint, sweep):
    messages, services = generate(proto_dir)
    with grpc.insecure_channel(endpoint) as channel:
        print("services:", *sorted(ProtoReflectionDescriptorDatabase(channel).get_services()), file=sys.stderr)
        sweeps = services.SweepServiceStub(channel)
        source = messages.SweepSource(toml=Path(sweep).read_text())
        sweep_id = sweeps.SubmitSweep(messages.SubmitSweepRequest(source=source)).sweep_id
        for state in sweeps.WatchSweep(messages.WatchSweepRequest(sweep_id=sweep_id)):
            print(state.state, state.tasks.succeeded, file=sys.stderr)
        if state.state != "succeeded":
            raise SystemExit(f"sweep {sweep_id} {state.state}")
        for row in sweeps.StreamResults(messages.StreamResultsRequest(sweep_id=sweep_id)):
            print(json.dumps(MessageToDict(row, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
