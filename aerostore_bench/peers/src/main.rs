//! What do commits cost that wait for the disk, beside the striped log of crate `aletheiadb`?
//!
//! Rows          100 000 flights of six columns, image 64 bytes
//! Operations    here one transaction: five columns of a row, its index kept, read back by others at once; there one record with the same five
//!               numbers in the log, and nothing else
//! Durability    both: an operation is over when it is on disk. There once by a sync of each session (`Synchronous`), and once by sixteen that share
//!               them (`GroupCommit`, 16 records or 1 ms)
//! Unit          operations per second; ratios turn by turn
//! Disk          the one of `TMPDIR`
//! Run           scripts/bench striped_log, or cargo run --release --manifest-path aerostore_bench/peers/Cargo.toml -- ?rounds? ?milliseconds?
//!
//! The crate `auradb` (0.1.0) has no log to compare with: the file of its writer is not part of the library it builds, whose engine is a map in memory.

use aerostore_bench::engine::load;
use aerostore_bench::flight::{Position, Random};
use aerostore_bench::place::Place;
use aerostore_bench::report::print_machine;
use aerostore_bench::waiting::{Failure, Session, Side, compare, disk, sessions};
use aletheiadb::core::temporal::time;
use aletheiadb::core::{GLOBAL_INTERNER, NodeId, PropertyMapBuilder, VersionId};
use aletheiadb::storage::wal::concurrent_system::{ConcurrentWalSystem, ConcurrentWalSystemConfig};
use aletheiadb::storage::wal::{DurabilityMode, WalOperation};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ROWS: u32 = 100_000;

/// The record of an update of one row.
fn record(number: u32, step: u64) -> Result<WalOperation, Failure> {
    let position = Position::new(number, step);
    let properties = PropertyMapBuilder::new()
        .insert("lat", position.lat)
        .insert("lon", position.lon)
        .insert("altitude", i64::from(position.altitude))
        .insert("gs", i64::from(position.gs))
        .insert("updated_at", position.updated_at)
        .build();
    Ok(WalOperation::UpdateNode {
        node_id: NodeId::new(number.into())?,
        version_id: VersionId::new(step)?,
        label: GLOBAL_INTERNER.intern("Flight")?,
        properties,
        valid_from: time::now(),
        provenance: None,
    })
}

/// Sessions that share one striped log.
fn striped(dir: &Path, mode: DurabilityMode, count: u64) -> Result<Vec<Session<'static>>, Failure> {
    let config = ConcurrentWalSystemConfig::new(dir).with_durability_mode(mode);
    let log = Arc::new(ConcurrentWalSystem::new(config)?);
    let one = |seed| -> Session<'static> {
        let (log, mut random) = (Arc::clone(&log), Random::new(seed));
        Box::new(move || {
            log.append(record(random.below(ROWS), random.word() >> 40)?)?;
            // With `Synchronous` the record is on disk already.
            if matches!(log.durability_mode(), DurabilityMode::GroupCommit { .. })
                && let (Some(epoch), Some(group)) = (log.commit()?, log.group_commit_coordinator())
            {
                group.wait_for_flush(epoch)?;
            }
            Ok(())
        })
    };
    Ok((0..count).map(one).collect())
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let (rounds, millis) = (number(15)?, number(400)?);
    let place = Place::fresh("wal-peers");
    drop(load(&place.open()?, ROWS).map_err(|error| error.to_string())?);
    let shared = DurabilityMode::GroupCommit { max_delay_ms: 1, max_batch_size: 16 };
    let mut sides = [
        Side::new("disk, reserved", disk(&place.dir.join("reserved"), false)?),
        Side::new("one", sessions(&place, ROWS, 0..1, 1)?),
        Side::new("one, striped", striped(&place.dir.join("one"), DurabilityMode::Synchronous, 1)?),
        Side::new("sixteen", sessions(&place, ROWS, 1..17, 1)?),
        Side::new("sixteen, striped", striped(&place.dir.join("many"), DurabilityMode::Synchronous, 16)?),
        Side::new("sixteen, striped, shared", striped(&place.dir.join("shared"), shared, 16)?),
    ];
    let pairs =
        [("one", "one, striped"), ("sixteen", "sixteen, striped"), ("sixteen", "sixteen, striped, shared")];
    print_machine();
    compare(&mut sides, rounds, Duration::from_millis(millis.into()), &pairs)
}
