"""Reads every file of a lake (the argument is its ext folder) and checks what another reader needs.

Prints rows by class and the number of files; fails with an AssertionError that names the file.
"""

import collections
import datetime
import json
import pathlib
import re
import sys

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

ext = pathlib.Path(sys.argv[1])
folder = re.compile(r"trailhound-(\d+)/region=([a-z0-9-]+)/accountId=([a-z0-9-]+)/eventDay=(\d{8})")
rows_by_class = collections.Counter()
files = sorted(ext.rglob("*.parquet"))

for path in files:
    name = str(path.relative_to(ext))
    class_uid, region, account, day = folder.match(name).groups()
    file = pq.ParquetFile(path)
    schema, meta = file.schema_arrow, file.metadata

    # Types, without any hint that only Arrow would read.
    assert set(meta.metadata or {}) == {b"trailhound.schema"}, (name, meta.metadata)
    expected = {
        "time": pa.int64(),
        "time_dt": pa.timestamp("ms", "UTC"),
        "class_uid": pa.int32(),
        "type_uid": pa.int64(),
        "class_name": pa.string(),
    }
    for column, kind in expected.items():
        assert schema.field(column).type == kind, (name, schema.field(column))
    assert schema.field("metadata").type.field("profiles").type.value_type == pa.string(), name
    assert pa.types.is_list(schema.field("observables").type), name
    unmapped = schema.field("unmapped").type
    assert pa.types.is_map(unmapped) and unmapped.key_type == unmapped.item_type == pa.string(), name

    # Compression, statistics, page index, sizes.
    for group in range(meta.num_row_groups):
        assert meta.row_group(group).total_byte_size <= 256 << 20, name
        for number in range(meta.num_columns):
            column = meta.row_group(group).column(number)
            where = (name, column.path_in_schema)
            assert column.compression == "ZSTD", where
            assert column.is_stats_set, where
            # parquet 59 leaves the column index out where a column below a list has no value at all.
            empty = "list" in column.path_in_schema and column.statistics.num_values == 0
            assert empty or (column.has_offset_index and column.has_column_index), where
        time = meta.row_group(group).column(meta.schema.names.index("time"))
        assert time.path_in_schema == "time" and time.statistics.has_min_max, name

    # Rows: in order, and of the partition that the path says.
    rows = file.read().to_pylist()
    assert len(rows) == meta.num_rows > 0, name
    keys = [(row["time"], row["metadata"]["uid"]) for row in rows]
    assert keys == sorted(keys), name
    assert (time.statistics.min, time.statistics.max) == (keys[0][0], keys[-1][0]), name
    for row in rows:
        assert row["class_uid"] == int(class_uid), name
        assert row["cloud"]["region"] == region, name
        assert row["cloud"]["account"]["uid"] == account, name
        assert row["time_dt"].strftime("%Y%m%d") == day, name
        assert row["time_dt"] == datetime.datetime.fromtimestamp(
            row["time"] / 1000, datetime.timezone.utc
        ), name
    rows_by_class[rows[0]["class_name"].lower().replace(" ", "_")] += len(rows)

# The whole of a class as one table, filtered by its partitions.
for source in sorted(ext.iterdir()):
    table = ds.dataset(source, partitioning="hive", format="parquet")
    day = int(next(source.rglob("eventDay=*")).name.split("=")[1])
    some = table.to_table(filter=ds.field("eventDay") == day)
    assert 0 < some.num_rows <= table.count_rows(), source

json.dump({"by_class": rows_by_class, "files": len(files)}, sys.stdout)
