//! Each stage alone, in bytes per second: `cargo bench --bench stages`.

use std::{hint::black_box, io::Write, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compression, write::GzEncoder};
use parsers::{Filter, Limits, ObjectKey, Rows, frame::JsonRecords, frame::Lines};
use trailhound::inflate::{Caps, Inflate};

mod support;

const BYTES: usize = 4 << 20;

fn inflate(criterion: &mut Criterion) {
    let text = support::cloudtrail_object(&mut support::Numbers::new(1), BYTES, 0);
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(text.as_bytes()).expect("memory takes everything");
    let object = Bytes::from(gz.finish().expect("memory takes everything"));
    let mut group = criterion.benchmark_group("inflate");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("gzip", |bencher| {
        let mut out = Vec::with_capacity(1 << 20);
        bencher.iter(|| {
            let mut inflate = Inflate::new(Caps::default());
            let mut input = object.clone();
            while !input.is_empty() {
                out.clear();
                inflate.run(&mut input, &mut out).expect("the object is sound");
                black_box(&out);
            }
        });
    });
}

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let text = support::cloudtrail_object(&mut support::Numbers::new(1), BYTES, 0);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("json records", |bencher| {
        bencher.iter(|| {
            let mut frames = JsonRecords::new(&["Records"]);
            let mut rest = text.as_bytes();
            while let Some(frame) = frames.next(&mut rest, true).expect("the JSON is sound") {
                black_box(frame);
            }
        });
    });
    let text = support::flow_object(&mut support::Numbers::new(1), BYTES, 0);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("lines", |bencher| {
        bencher.iter(|| {
            let mut lines = Lines::default();
            let mut rest = text.as_bytes();
            while let Some(line) = lines.next(&mut rest, true) {
                black_box(line);
            }
        });
    });
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode to rows");
    let limits = Limits { rows: 8192, input_bytes: 4 << 20, document_bytes: 8 << 20 };
    for name in ["cloudtrail", "vpc_flow"] {
        let mut numbers = support::Numbers::new(1);
        let text = match name {
            "cloudtrail" => support::cloudtrail_object(&mut numbers, BYTES, 0),
            _ => support::flow_object(&mut numbers, BYTES, 0),
        };
        let source = parsers::source(name).expect("it is a source");
        let key = ObjectKey::new("AWSLogs/111122223333/x");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut rows = Rows::new(limits, Arc::new([Filter::default()]));
                let mut decoder = (source.decoder)(&key.clone().into());
                let mut rest = text.as_bytes();
                loop {
                    let count = decoder.decode(rest, true, &mut rows).expect("it is sound");
                    rest = &rest[count..];
                    if !rows.is_full() {
                        break;
                    }
                    black_box(rows.take());
                }
                black_box(rows.take());
            });
        });
    }
}

criterion_group!(stages, inflate, frame, decode);
criterion_main!(stages);
