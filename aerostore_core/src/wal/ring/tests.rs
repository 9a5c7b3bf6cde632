use super::*;

struct Heap {
    header: RingHeader,
    words: Vec<AtomicU64>,
}

impl Heap {
    fn new(words: usize) -> Self {
        Self { header: RingHeader::default(), words: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.header, &self.words)
    }
}

#[cfg(not(loom))]
mod plain {
    use super::*;

    fn entries(ring: &Ring<'_>) -> Vec<(u64, Vec<u8>)> {
        let tail = ring.tail();
        let mut position = ring.head();
        let mut all = Vec::new();
        while let Some(entry) = ring.next(position, tail).unwrap() {
            let mut redo = Vec::new();
            ring.copy_inline(&entry, &mut redo);
            assert_eq!(record_checksum(&redo, entry.c), entry.checksum);
            assert_eq!(redo.len(), entry.redo_bytes as usize);
            all.push((entry.c, redo));
            position = entry.end();
        }
        all
    }

    fn publish(ring: &Ring<'_>, redo: &[u8], c: u64, durable_ts: u64) -> Result<(), RingError> {
        ring.publish(ring.stage(EntryBody::Inline(redo), durable_ts)?, c * 10, c, record_checksum(redo, c));
        Ok(())
    }

    #[test]
    fn entries_come_back_in_order_over_many_rounds() {
        let heap = Heap::new(64);
        let ring = heap.ring();
        let mut durable = 0;
        for c in 1..2000_u64 {
            let redo = vec![u8::try_from(c % 251).unwrap(); usize::try_from(c * 7 % 90).unwrap()];
            while let Err(error) = publish(&ring, &redo, c, durable) {
                assert!(matches!(error, RingError::Full { .. }), "{error}");
                assert!(durable + 1 < c, "an empty ring has room");
                durable += 1;
            }
            let all = entries(&ring);
            assert_eq!(all.last().unwrap(), &(c, redo));
            assert!(all.iter().any(|entry| entry.0 == durable + 1), "{durable} {c}");
        }
        assert!(!ring.is_drained(1998).unwrap());
        assert!(ring.is_drained(1999).unwrap());
        assert_eq!(ring.stats(1999).unwrap().record_count, 1999);
    }

    #[test]
    fn figures_tell_what_is_pending_from_what_is_only_there() {
        let heap = Heap::new(32);
        let ring = heap.ring();
        assert_eq!(ring.stats(0).unwrap(), RingStats { capacity_bytes: 256, ..RingStats::default() });
        for c in 1..=3 {
            publish(&ring, &[7; 9], c, 0).unwrap();
        }
        // Headers of 32 bytes, payloads of two words.
        let stats = RingStats {
            capacity_bytes: 256,
            used_bytes: 144,
            pending_bytes: 96,
            record_count: 3,
            redo_bytes: 27,
        };
        assert_eq!(ring.stats(1).unwrap(), stats);
        assert_eq!(ring.stats(3).unwrap(), RingStats { pending_bytes: 0, ..stats });
        let pieces = [(64, 1000), (4096, 500)];
        let staged = ring.stage(EntryBody::OutOfLine { pieces: &pieces }, 3).unwrap();
        let _ = ring.publish(staged, 16, 4, 0);
        let stats = ring.stats(3).unwrap();
        assert_eq!((stats.redo_bytes, stats.pending_bytes), (1527, 64), "what lies elsewhere counts as redo");
    }

    #[test]
    fn a_dropped_staging_leaves_no_trace() {
        let heap = Heap::new(32);
        let ring = heap.ring();
        publish(&ring, b"one", 1, 0).unwrap();
        drop(ring.stage(EntryBody::Inline(b"never published"), 0).unwrap());
        publish(&ring, b"two", 2, 0).unwrap();
        assert_eq!(entries(&ring), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    }

    #[test]
    fn full_and_too_large_are_told_apart() {
        let heap = Heap::new(32);
        let ring = heap.ring();
        let limit = ring.payload_bytes_max();
        let large = vec![0; usize::try_from(limit).unwrap() + 1];
        assert_eq!(
            ring.stage(EntryBody::Inline(&large), 0).unwrap_err(),
            RingError::TooLarge { bytes: limit + 1, limit }
        );
        let mut c = 0;
        let error = loop {
            c += 1;
            if let Err(error) = publish(&ring, &large[1..], c, 0) {
                break error;
            }
        };
        assert_eq!((c, error), (5, RingError::Full { needed: 64, free: 0 }));
        publish(&ring, b"x", c, 1).unwrap();
    }

    #[test]
    fn out_of_line_pieces_round_trip() {
        let heap = Heap::new(64);
        let ring = heap.ring();
        let pieces = [(4096, 100), (8192, 7)];
        ring.publish(ring.stage(EntryBody::OutOfLine { pieces: &pieces }, 0).unwrap(), 5, 6, 9);
        let entry = ring.next(0, ring.tail()).unwrap().unwrap();
        assert!(!entry.inline);
        assert_eq!((entry.record, entry.c, entry.redo_bytes), (5, 6, 107));
        assert_eq!(ring.pieces(&entry).collect::<Vec<_>>(), pieces);
    }

    #[test]
    fn a_producer_killed_at_any_point_leaves_a_ring_its_successor_goes_on_with() {
        let mut deaths = 0;
        for round in 0..40 {
            for point in 1.. {
                let heap = Heap::new(64);
                let ring = heap.ring();
                (1..=round).for_each(|c| publish(&ring, &[7; 30], c, c - 1).unwrap());
                let before = entries(&ring);
                let survived = crate::sync::survives(point, || {
                    publish(&ring, b"the last words", round + 1, round).unwrap();
                });
                let mut after = entries(&ring);
                let published = after.last().is_some_and(|last| last.0 == round + 1);
                assert!(published || !survived);
                if published {
                    assert_eq!(after.pop().unwrap().1, b"the last words");
                }
                assert!(before.ends_with(&after), "only durable entries are gone, from the front");
                publish(&ring, b"the successor's", round + 2, round).unwrap();
                assert_eq!(entries(&ring).pop().unwrap(), (round + 2, b"the successor's".to_vec()));
                if survived {
                    break;
                }
                deaths += 1;
            }
        }
        assert!(deaths > 40 * 4);
    }

    #[test]
    fn nonsense_in_shared_memory_is_an_error() {
        for (at, word) in [(0, 99_u64 << 32), (0, join(5000, INLINE)), (0, join(3, PAD))] {
            let heap = Heap::new(32);
            let ring = heap.ring();
            ring.prepare(4);
            publish(&ring, b"abc", 1, 0).unwrap();
            heap.words[at].store(word, Ordering::Relaxed);
            assert_eq!(ring.next(0, ring.tail()).unwrap_err().ring, 4);
            assert!(ring.is_drained(7).is_err());
        }
        let heap = Heap::new(32);
        heap.header.head.store(9, Ordering::Relaxed);
        assert!(matches!(heap.ring().stage(EntryBody::Inline(b"x"), 0), Err(RingError::Damaged(_))));
    }

    #[test]
    #[should_panic(expected = "grow")]
    fn a_smaller_timestamp_is_refused() {
        let heap = Heap::new(32);
        let _ = publish(&heap.ring(), b"a", 5, 0);
        let _ = publish(&heap.ring(), b"b", 4, 0);
    }

    /// A reader without a position of its own (a fresh log writer) against a producer that frees and overwrites.
    #[test]
    fn a_reader_from_head_sees_only_genuine_entries() {
        let heap = Heap::new(64);
        let durable = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let ring = heap.ring();
                for c in 1..200_000_u64 {
                    let redo = [u8::try_from(c % 256).unwrap(); 40];
                    while publish(
                        &ring,
                        &redo[..usize::try_from(c % 40).unwrap()],
                        c,
                        durable.load(Ordering::Acquire),
                    )
                    .is_err()
                    {
                        std::thread::yield_now();
                    }
                }
            });
            let ring = heap.ring();
            let mut redo = Vec::new();
            let mut last = 0;
            while last < 199_999 {
                let tail = ring.tail();
                let mut position = ring.head();
                let before = last;
                while let Some(entry) = ring.next(position, tail).unwrap() {
                    if entry.c > last {
                        assert_eq!(entry.c, last + 1, "no undurable entry is skipped");
                        redo.clear();
                        ring.copy_inline(&entry, &mut redo);
                        assert_eq!(record_checksum(&redo, entry.c), entry.checksum);
                        last = entry.c;
                    }
                    position = entry.end();
                }
                durable.store(last, Ordering::Release);
                if last == before {
                    std::thread::yield_now();
                }
            }
        });
    }
}

// In these models the producer runs in the first thread: loom's search starts from the order in which that one comes
// first, and from the other order it would not find a conflict behind the producer's loads of its own words.
#[cfg(loom)]
mod loomed {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    fn stage_and_publish(ring: &Ring<'_>, c: u8, durable_ts: u64) -> Result<(), RingError> {
        let staged = ring.stage(EntryBody::Inline(&[c; 17]), durable_ts)?;
        ring.publish(staged, u64::from(c), u64::from(c), record_checksum(&[c; 17], u64::from(c)));
        Ok(())
    }

    fn check(ring: &Ring<'_>, entry: &Entry) {
        let mut redo = Vec::new();
        ring.copy_inline(entry, &mut redo);
        assert_eq!((entry.record, entry.redo_bytes), (entry.c, 17));
        assert_eq!(record_checksum(&redo, entry.c), entry.checksum);
    }

    /// Walks from `from` to the tail; checks what is above `durable_ts` and returns the last timestamp.
    fn walk(ring: &Ring<'_>, durable_ts: u64) -> u64 {
        let tail = ring.tail();
        let mut position = ring.head();
        let mut last = durable_ts;
        while let Some(entry) = ring.next(position, tail).unwrap() {
            if entry.c > durable_ts {
                assert_eq!(entry.c, last + 1, "no entry is skipped");
                check(ring, &entry);
                last = entry.c;
            }
            position = entry.end();
        }
        last
    }

    /// One producer, one log writer that reads, makes durable, and reads again.
    #[test]
    fn loom_publish_and_consume() {
        loom::model(|| {
            let shared = Arc::new((Heap::new(32), AtomicU64::new(0)));
            for c in 1..=3 {
                stage_and_publish(&shared.0.ring(), c, 0).unwrap();
            }
            let reader = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let durable_ts = walk(&shared.0.ring(), 0);
                    // Release: as the CAS of `LogControl::publish`.
                    shared.1.store(durable_ts, Ordering::Release);
                    walk(&shared.0.ring(), durable_ts);
                }
            });
            for c in 4..=5 {
                // Acquire: as `LogControl::durable_ts`.
                if stage_and_publish(&shared.0.ring(), c, shared.1.load(Ordering::Acquire)).is_err() {
                    break;
                }
            }
            reader.join().unwrap();
        });
    }

    /// The log writer asks a record whose session, meanwhile, ends the transaction and begins the next one with it (G5).
    #[test]
    fn loom_a_record_used_again_hides_no_commit() {
        const ACTIVE: u64 = 0;
        const COMMITTED: u64 = 3;
        loom::model(|| {
            // The ring, the record's state, and whether the slot still names the record.
            let shared = Arc::new((Heap::new(32), AtomicU64::new(ACTIVE), AtomicU64::new(1)));
            let (ring, record, named) = (shared.0.ring(), &shared.1, &shared.2);
            let entry = ring.publish(ring.stage(EntryBody::Inline(&[7]), 0).unwrap(), 16, 1, 0);
            let reader = thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let (ring, record, named) = (shared.0.ring(), &shared.1, &shared.2);
                    // As the watermark does: what is not decided is not asked for.
                    if named.load(Ordering::Acquire) == 1 && record.load(Ordering::Acquire) != COMMITTED {
                        return;
                    }
                    let entry = ring.next(ring.head(), ring.tail()).unwrap().unwrap();
                    assert!(ring.is_committed(&entry, |_| record.load(Ordering::Acquire) == COMMITTED));
                }
            });
            record.store(COMMITTED, Ordering::Release);
            ring.decide(entry, true);
            named.store(0, Ordering::Release);
            record.store(ACTIVE, Ordering::Release);
            reader.join().unwrap();
        });
    }

    /// A fresh log writer that begins at `head`, where the producer is just overwriting what is durable.
    #[test]
    fn loom_overwriting_what_a_reader_walks_over() {
        loom::model(|| {
            let shared = Arc::new(Heap::new(32));
            for c in 1..=4 {
                stage_and_publish(&shared.ring(), c, 0).unwrap();
            }
            let reader = thread::spawn({
                let shared = Arc::clone(&shared);
                move || walk(&shared.ring(), 4)
            });
            stage_and_publish(&shared.ring(), 5, 4).unwrap();
            assert!(reader.join().unwrap() <= 5);
        });
    }
}
