//! What does a record cost on its way to the log: appended to a ring, and drained from it to a file?
//!
//! 60 redo bytes per record, rings of 1 MiB, commit mode off (written, synced once per thousand records), one thread, unit:
//! one record. The file system is the one of `TMPDIR`.
#![allow(clippy::disallowed_types, reason = "the engine's own type, which a bench has no other name for")]

use aerostore_core::sys::{FileSystem, OsFileSystem};
use aerostore_core::wal::{
    CommitSource, EntryBody, LogControl, LogOptions, LogWriter, Ring, RingHeader, record_checksum,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::cell::{Cell, UnsafeCell};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const RING_BYTES: u64 = 1 << 20;
const RECORDS: u64 = 1000;

#[repr(align(64))]
struct Data(UnsafeCell<[u8; 1 << 20]>);

struct Rings {
    headers: Vec<RingHeader>,
    data: Vec<Box<Data>>,
    clock: Cell<u64>,
}

impl Rings {
    #[expect(
        clippy::large_stack_arrays,
        reason = "the array is built once per ring, before anything is timed"
    )]
    fn new(count: usize, control: &LogControl) -> Self {
        let headers = (0..count).map(|_| RingHeader::default()).collect();
        let data = (0..count).map(|_| Box::new(Data(UnsafeCell::new([0; 1 << 20])))).collect();
        let rings = Self { headers, data, clock: Cell::new(0) };
        (0..count).for_each(|index| rings.ring(index).prepare(control.next_ring_id()));
        rings
    }

    fn ring(&self, index: usize) -> Ring<'_> {
        // SAFETY: the data is boxed and lives as long as `self`; only rings touch it.
        unsafe { Ring::from_raw(&self.headers[index], self.data[index].0.get().cast(), RING_BYTES) }
    }

    fn append(&self, index: usize, redo: &[u8], durable_ts: u64) {
        let ring = self.ring(index);
        let staged = ring.stage(EntryBody::Inline(redo), durable_ts).expect("room");
        let c = self.clock.get() + 1;
        self.clock.set(c);
        ring.decide(ring.publish(staged, 16 * c, c, record_checksum(redo, c)), true);
    }
}

impl CommitSource for Rings {
    fn watermark(&self) -> u64 {
        self.clock.get()
    }

    fn rings<'a>(&'a self, into: &mut Vec<Ring<'a>>) {
        into.extend((0..self.headers.len()).map(|index| self.ring(index)));
    }

    fn is_committed(&self, record: &AtomicU64, c: u64) -> bool {
        record.load(Ordering::Relaxed) == 16 * c
    }

    fn copy_out(&self, _offset: u64, _length: u64, _into: &mut Vec<u8>) -> bool {
        false
    }
}

fn append(criterion: &mut Criterion) {
    let control = LogControl::default();
    let rings = Rings::new(1, &control);
    let redo = [7_u8; 60];
    criterion.bench_function("wal_ring/append", |bencher| {
        // Everything before is durable, so there is always room.
        bencher.iter(|| rings.append(0, black_box(&redo), rings.clock.get()));
    });
}

fn drain(criterion: &mut Criterion) {
    let dir = std::env::temp_dir().join(format!("aerostore-bench-wal-{}", std::process::id()));
    OsFileSystem.create_dir(&dir).expect("a directory");
    let mut group = criterion.benchmark_group("wal_ring/drain");
    group.throughput(Throughput::Elements(RECORDS));
    for count in [1, 2, 16] {
        let control = LogControl::default();
        let rings = Rings::new(count, &control);
        let fs = Arc::new(OsFileSystem);
        let place = dir.join(count.to_string());
        fs.create_dir(&place).expect("a directory");
        let mut writer =
            LogWriter::take_over(&control, fs, &place, [1; 16], 1, LogOptions::default()).expect("a log");
        let redo = [7_u8; 60];
        group.bench_function(format!("{count}_rings"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut elapsed = std::time::Duration::ZERO;
                for _ in 0..rounds {
                    for index in 0..RECORDS {
                        rings.append(
                            usize::try_from(index).expect("small") % count,
                            &redo,
                            control.durable_ts(),
                        );
                    }
                    let begin = std::time::Instant::now();
                    writer.drain(&rings, false).expect("written");
                    elapsed += begin.elapsed();
                    // Not measured: makes room in the rings.
                    writer.drain(&rings, true).expect("synced");
                }
                elapsed
            });
        });
    }
    group.finish();
    std::fs::remove_dir_all(dir).expect("removed");
}

criterion_group!(benches, append, drain);
criterion_main!(benches);
