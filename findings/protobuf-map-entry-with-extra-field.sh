#!/usr/bin/env bash
# protobuf 7.36.2 for Python: a map entry that has a field besides key and value is read as two different things.
#
# A newer version of a contract, or a server that adds its own field to each entry of a map<string, string>, sends
# entries with three fields. The default runtime (upb, in C) does not put such an entry into the map: the map is empty,
# and the whole entry is among the unknown fields of the message. The pure Python runtime of the same release puts key
# and value into the map and forgets the additional field. So the same bytes have a key in one process and none in
# another one, without an error in either.
#
# Output seen on 2026-11-30:
#   upb {} [(1, b'\n\x01k\x12\x01v\x18\x01')]
#   python {'k': 'v'} []
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check protobuf==7.36.2
cat > "$folder/read.py" <<'PYTHON'
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import api_implementation
from google.protobuf.unknown_fields import UnknownFieldSet

STRING, MESSAGE, OPTIONAL, REPEATED = 9, 11, 1, 3
file = descriptor_pb2.FileDescriptorProto(name="shelf.proto", package="shelf", syntax="proto3")
box = file.message_type.add(name="Box")
entry = box.nested_type.add(name="LabelsEntry")
entry.options.map_entry = True
entry.field.add(name="key", number=1, type=STRING, label=OPTIONAL)
entry.field.add(name="value", number=2, type=STRING, label=OPTIONAL)
box.field.add(name="labels", number=1, type=MESSAGE, label=REPEATED, type_name=".shelf.Box.LabelsEntry")
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Box = message_factory.GetMessageClass(pool.FindMessageTypeByName("shelf.Box"))

with_extra_field = b"\x0a\x01k\x12\x01v\x18\x01"  # key "k", value "v", and field 3 = 1
read = Box.FromString(b"\x0a" + bytes([len(with_extra_field)]) + with_extra_field)
unknown = [(field.field_number, field.data) for field in UnknownFieldSet(read)]
print(api_implementation.Type(), dict(read.labels), unknown)
PYTHON
seen=$(
  "$folder/venv/bin/python" "$folder/read.py"
  PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python "$folder/venv/bin/python" "$folder/read.py"
)
echo "$seen"
expected="upb {} [(1, b'\\n\\x01k\\x12\\x01v\\x18\\x01')]
python {'k': 'v'} []"
[ "$seen" = "$expected" ] || { echo "this has changed" >&2; exit 1; }
